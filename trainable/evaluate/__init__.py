"""Scoring a trained network: prediction (whole, windowed, flipped, scaled), metrics, diagnostics, pictures."""
