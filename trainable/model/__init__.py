"""The segmentation model: names, pretrained weights, building and its parts. Importing the package imports no torch."""
