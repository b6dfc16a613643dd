"""`greenprep init`: looks at a folder of files that nobody described, and writes a commented recipe for it."""
