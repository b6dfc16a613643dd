"""`greenprep synth`: a small synthetic city with planted defects."""
