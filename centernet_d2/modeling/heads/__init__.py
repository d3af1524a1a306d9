"""Features -> raw maps."""
