"""What a map says of the ground: areas with their errors, districts, change, patches, pictures."""
