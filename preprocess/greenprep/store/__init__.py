"""The store's own bytes and records: arrays, shards, places, moments."""
