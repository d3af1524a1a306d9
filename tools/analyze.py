#!/usr/bin/env python3
"""What the papers ask of a corner detector: `centernet-d2 analyze`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("analyze")
