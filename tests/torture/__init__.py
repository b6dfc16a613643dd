"""The campaign of faults in short: what may happen to files, processes and machines, and what must come of it."""
