"""The detectors; each names the functions that it puts together."""
