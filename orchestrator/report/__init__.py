"""What a comparison says: statistics of paired runs, and the report that shows them."""
