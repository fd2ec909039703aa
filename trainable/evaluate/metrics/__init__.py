"""Metric names and the confusion matrix they are computed from. Importing the package imports no torch."""
