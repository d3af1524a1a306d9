"""Downloads from a server on this machine that misbehaves on demand."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import sys
import threading

import pytest
from local_server import served

from centernet_d2 import progress
from centernet_d2.checkpoint import download as module
from centernet_d2.checkpoint.download import DownloadError, download, local_name
from centernet_d2.checkpoint.files import WeightFileError

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 4000
SIZE = len(CONTENT)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the class attributes say how it fails."""

    protocol_version = "HTTP/1.0"
    cut_after = []  # bytes sent by each of the next connections before it is closed
    ranges = True
    status = 200
    body = CONTENT
    seen = []  # Range headers, one per request

    def do_GET(self):
        cls = type(self)
        wanted = self.headers.get("Range")
        cls.seen.append(wanted)
        if cls.status != 200:
            self.send_error(cls.status)
            return
        start = int(wanted[6:-1]) if wanted and cls.ranges else 0
        if start >= len(cls.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(cls.body)}")
            self.end_headers()
            return
        rest = cls.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(cls.body) - 1}/{len(cls.body)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: cls.cut_after.pop(0)] if cls.cut_after else rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """(handler class, address of the file)."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    handler = type("Handler", (Server,), {"seen": [], "cut_after": []})
    with served(handler) as address:
        yield handler, f"{address}/folder/weights.pth?key=1"


def test_whole_file_and_only_once(server, tmp_path):
    handler, url = server
    file = download(url, tmp_path / "new")
    assert file.read_bytes() == CONTENT
    assert file.name.endswith("-weights.pth")
    assert os.listdir(file.parent) == [file.name]
    assert download(url, tmp_path / "new") == file
    assert handler.seen == [None]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_a_bar_and_the_log_a_line_at_start_and_end(
    server, tmp_path, monkeypatch, caplog, terminal
):
    _, url = server
    shown = io.StringIO()
    shown.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    (tmp_path / "dla.pth.part").write_bytes(CONTENT[:512_000])
    with caplog.at_level("INFO"):
        download(url, tmp_path, name="dla.pth")
    assert caplog.messages == [
        f"Downloading {url} from byte 512,000 on",
        f"Downloaded {SIZE:,} bytes.",
    ]
    assert ("dla.pth:  50%" in shown.getvalue()) == terminal
    assert bool(shown.getvalue()) == terminal


def test_lost_connections_go_on_where_they_stopped(server, tmp_path):
    handler, url = server
    handler.cut_after = [300_000, 1, 200_000]
    file = download(url, tmp_path)
    assert file.read_bytes() == CONTENT
    assert handler.seen == [None, "bytes=300000-", "bytes=300001-", "bytes=500001-"]
    assert os.listdir(tmp_path) == [file.name]


def test_server_without_ranges_starts_again(server, tmp_path):
    handler, url = server
    handler.ranges, handler.cut_after = False, [300_000]
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert handler.seen == [None, "bytes=300000-"]


def test_a_later_call_goes_on(server, tmp_path):
    handler, url = server
    handler.cut_after = [100_000, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"connection was cut.*100,000 bytes are kept"):
        download(url, tmp_path)
    assert [name.rpartition(".")[2] for name in os.listdir(tmp_path)] == ["part"]
    handler.seen.clear()
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert handler.seen == ["bytes=100000-"]


def test_complete_part_is_only_named(server, tmp_path):
    handler, url = server
    (tmp_path / f"{local_name(url)}.part").write_bytes(CONTENT)
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert handler.seen == [f"bytes={SIZE}-"]


def test_part_of_a_longer_file_is_given_up(server, tmp_path):
    handler, url = server
    (tmp_path / f"{local_name(url)}.part").write_bytes(CONTENT + b"more")
    assert download(url, tmp_path).read_bytes() == CONTENT
    assert len(handler.seen) == 2


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, module.TRIES)])
def test_refusal_leaves_nothing(server, tmp_path, status, requests):
    handler, url = server
    handler.status = status
    with pytest.raises(DownloadError, match=rf"{status}.*published:<file>"):
        download(url, tmp_path)
    assert len(handler.seen) == requests
    assert os.listdir(tmp_path) == []


def test_no_server(server, tmp_path):
    with pytest.raises(DownloadError, match="Could not download"):
        download("http://127.0.0.1:9/weights.pth", tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>sign in</html>", b""])
def test_web_page_instead_of_weights_leaves_nothing(server, tmp_path, body):
    handler, url = server
    handler.body = body
    with pytest.raises((WeightFileError, DownloadError)):
        download(url, tmp_path)
    assert os.listdir(tmp_path) == []


def test_checksum(server, tmp_path):
    _, url = server
    digest = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(WeightFileError, match=rf"SHA-256 {digest}, expected 00ff"):
        download(url, tmp_path, sha256="00ff")
    assert os.listdir(tmp_path) == []
    assert download(url, tmp_path, sha256=digest[:8].upper()).is_file()


def test_two_processes_of_a_job_fetch_it_once(server, tmp_path):
    handler, url = server
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(download(url, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert found[0].read_bytes() == CONTENT
    assert len(handler.seen) == 1
    assert os.listdir(tmp_path) == [found[0].name]
