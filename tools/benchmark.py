#!/usr/bin/env python3
"""Measure speed, memory and size: `centernet-d2 benchmark`, for a checkout."""

from _command import run

if __name__ == "__main__":
    run("benchmark")
