"""Datasets by name: generated shapes, COCO-format files, and detectron2's own names."""
