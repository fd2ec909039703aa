"""What a study says: its table -> statistics of paired runs, figures and pages. Importing it is cheap."""
