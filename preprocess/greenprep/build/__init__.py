"""`greenprep tile` and `run`: accepted pairs to shards, and the shards to a store."""
