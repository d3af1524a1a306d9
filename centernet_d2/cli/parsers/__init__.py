"""What the verbs of `centernet-d2` take: only the standard library and light modules in here."""
