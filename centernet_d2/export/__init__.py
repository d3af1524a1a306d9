"""Detectors as files that run without this package: one graph from pictures to detections."""
