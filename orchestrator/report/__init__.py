"""A study's table and frozen specification -> statistics tables, figures and pages. Importing it is cheap."""
