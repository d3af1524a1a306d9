#!/usr/bin/env python3
"""Convert published weights: `centernet-d2 convert`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("convert")
