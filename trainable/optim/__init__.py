"""Optimizers and the learning-rate schedule. Importing the package imports no torch."""
