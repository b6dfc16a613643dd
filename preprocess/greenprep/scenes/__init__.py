"""`greenprep stack` and `join`: scenes in several files become one."""
