#!/usr/bin/env python3
"""Train or evaluate a detector: `centernet-d2 train`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("train")
