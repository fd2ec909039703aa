"""What the user sees in a terminal: progress, the summary at the end, and how figures are written."""
