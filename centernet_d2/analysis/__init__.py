"""What the papers ask of a trained detector beside its scores; run by `centernet-d2 analyze`."""
