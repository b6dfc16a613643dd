"""A store to augmented batches and targets."""
