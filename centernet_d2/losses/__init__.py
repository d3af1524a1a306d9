"""Prediction and target -> scalar, one criterion per file."""
