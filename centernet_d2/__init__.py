"""CornerNet, triplet CenterNet and points CenterNet for detectron2."""

__version__ = "0.1.0"
