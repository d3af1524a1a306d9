#!/usr/bin/env python3
"""Train a small detector on generated images: `centernet-d2 demo`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("demo")
