"""Bars: on a terminal, of what takes longer than two seconds, and nowhere else."""

from __future__ import annotations

import io
import time

import pytest

from centernet_d2 import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def goes_through(stream, monkeypatch) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    for _ in progress.bar(range(4), what="Small things", unit="thing", mininterval=0):
        time.sleep(0.03)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("stream", "delay", "shown"),
    [(Terminal(), 0.01, True), (Terminal(), 2.0, False), (io.StringIO(), 0.01, False)],
)
def test_a_bar_shows_on_a_terminal_after_its_delay(stream, delay, shown, monkeypatch):
    assert progress.SECONDS == 2
    monkeypatch.setattr(progress, "SECONDS", delay)
    text = goes_through(stream, monkeypatch)
    assert ("Small things:  75%" in text and "3/4" in text and " thing/s" in text) == shown
    assert shown or text == ""
    assert not text or text.endswith("\r")  # wiped


def test_a_bar_without_things_is_updated_by_hand(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0)
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress.bar(total=2048, what="file", unit="B", unit_scale=True, mininterval=0) as bar:
        bar.update(1024)
        assert "1.02k/2.05k" in str(bar)
