"""`greenprep split` and `audit`: groups to train, val and test, and the proof."""
