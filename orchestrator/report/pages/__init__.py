"""A report before and as it takes a format: Markdown, LaTeX, HTML."""
