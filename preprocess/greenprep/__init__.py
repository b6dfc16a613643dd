"""greenprep: checks satellite images and their masks, cuts tiles and writes one chunked Zarr store."""
