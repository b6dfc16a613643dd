"""What a sample of points, or validation tiles, say of a map: accuracy and area with their errors. Pure."""
