"""`greenprep clean`: a verdict on every file, the good and mended pairs in a folder."""
