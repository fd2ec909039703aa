"""Parts of one's own: a module for each."""
