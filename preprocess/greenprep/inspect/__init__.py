"""Looking at a store: tables, checks, pages, pictures."""
