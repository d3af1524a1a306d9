"""Dataset record -> network input. Importing it registers the generated datasets."""

from .datasets import builtin  # noqa: F401  (for its registrations)
