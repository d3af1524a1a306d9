"""The load test asks this machine alone, and notices what is lost or wrong."""

from __future__ import annotations

import asyncio
import http.server
import json

import pytest
from local_server import served

pytest.importorskip("fastapi")
serving_load = pytest.importorskip("benchmarks.serving_load")

ONE = [{"class_name": "cat", "score": 0.5, "box": [0, 0, 7, 5]}]


@pytest.mark.parametrize("url", ["http://127.0.0.1:80", "http://localhost", "http://[::1]:9"])
def test_this_machine(url):
    assert serving_load.check_loopback(url) == url


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://10.0.0.1", "http://0.0.0.0", "http://127.0.0.1.a.com", "x"],
)
def test_other_machines(url):
    with pytest.raises(ValueError, match=r"only 127\.0\.0\.1 and the like are asked"):
        asyncio.run(serving_load.load(url, [], clients=1, requests=1, seconds=1))


@pytest.mark.parametrize("words", [["--requests", "9999999"], ["--clients", "1", "9999"]])
def test_bounds(words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        serving_load.main(["--model", "a.onnx", "--images", str(tmp_path), *words])
    assert "is more than 0 and at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "right", "wrong"),
    [
        ([(200, ONE)], True, 0),
        ([(200, ONE), (429, [])], True, 0),
        ([(200, [ONE[0] | {"box": [0, 0, 7, 5.01]}])], False, 4),
        ([(200, ONE * 2)], False, 4),
        ([(200, ONE), (500, [])], False, 0),
        ([(200, ONE), (0, [])], False, 0),
    ],
)
def test_what_counts_as_right(answers, right, wrong):
    """A status of 0: the connection ends without an answer."""
    rest = answers * 4

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, found = rest.pop()
            if status:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps({"pictures": [{"detections": found}]}).encode())

        def log_message(self, *_):
            pass

    with served(Handler) as url:
        how = {"clients": 2, "requests": 4, "seconds": 20}
        report = asyncio.run(serving_load.load(url, [(b"a", ONE)], **how))
    assert (report.is_right, report.wrong, report.sent) == (right, wrong, 4)
    assert report.row()["lost"] == sum(not status or status == 500 for status, _ in answers * 2)
