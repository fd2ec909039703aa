"""What a path of the network is trained by: cross-entropy and its rivals. Importing the package imports no torch."""
