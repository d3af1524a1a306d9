#!/usr/bin/env python3
"""Draw what the model is given in training: `centernet-d2 visualize-data`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("visualize-data")
