"""Dataset record -> network input. Importing it registers the builtin data sets."""

from .datasets import builtin  # noqa: F401  (for its registrations)
