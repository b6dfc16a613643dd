"""`greenprep serve`: what the watcher of an inbox knows, as pages and as JSON; the only room with a web server."""
