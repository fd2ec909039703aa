"""Data sets: layouts on disk, decoding, the built-in shapes, augmentation. Importing the package imports no torch."""
