#!/usr/bin/env python3
"""Detect objects in images and videos: `centernet-d2 predict`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("predict")
