"""Ground truth -> maps."""
