"""The directory of a study: its objects, records, plans, lease and tables; all that a study remembers."""
