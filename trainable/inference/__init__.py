"""How a trained model predicts whole frames. Importing the package imports no torch."""
