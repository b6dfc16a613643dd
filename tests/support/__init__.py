"""What several tests make: stores, in the shape of the contract."""
