"""A trial on several ranks: what its processes sum, gather and share. Importing the package imports no torch."""
