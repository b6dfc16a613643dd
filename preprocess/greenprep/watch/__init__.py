"""`greenprep watch`: an inbox whose files are answered as they come, and a store that grows by them."""
