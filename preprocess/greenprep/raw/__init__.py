"""Raw files to the pixels of a pair: find, open, read as one."""
