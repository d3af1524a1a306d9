"""The server: what it answers, whom it refuses, that nothing is lost; by a detector whose answer
is known."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centernet_d2 import cli
from centernet_d2.data.images import read_image
from centernet_d2.runtime import Detections
from centernet_d2.runtime.serving import Options

from .by_hand import write_onnx

httpx = pytest.importorskip("httpx")
testclient = pytest.importorskip("starlette.testclient")
pictures = pytest.importorskip("centernet_d2.runtime.serving.pictures")
app = pytest.importorskip("centernet_d2.runtime.serving.app", reason="no fastapi here")


class Finder:
    """Finds one box, of the width of a picture's first value; may be held up."""

    metadata = {"class_names": ["cat"], "frame": {"height": None, "width": None}, "least_side": 2}

    def __init__(self, *, free=True, fault=None):
        self.batches, self.fault, self.go = [], fault, threading.Event()
        if free:
            self.go.set()

    def batch(self, images, projections=None):
        self.go.wait(10)
        if self.fault:
            raise self.fault
        if any(min(image.shape[:2]) < 2 for image in images):
            raise ValueError("a picture is too small: this file takes sides of 2 to 8192")
        self.batches.append(len(images))
        boxes = [np.array([[0, 0, image[0, 0, 0], 5]], "float32") for image in images]
        one = {"scores": np.array([0.5]), "classes": np.array([0]), "class_names": ("cat",)}
        return [Detections(boxes=each, **one) for each in boxes]


def saved(value=7, size=(30, 20), form="PNG", mode="RGB", **how) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value if mode in "LI;16" else (value,) * len(mode)).save(
        file, form, **how
    )
    return file.getvalue()


def animation() -> bytes:
    file, frames = io.BytesIO(), [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels in its header, and 20 x 30 in it."""
    content = bytearray(saved())
    content[16:24] = (60000).to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    return bytes(content)


@pytest.fixture
def client():
    """A function that serves a finder and gives its client, whose `service` is what is served."""
    opened = []

    def make(finder=None, **options):
        service = app.Service(finder or Finder(), Options(**options))
        opened.append(testclient.TestClient(app.make_app(service)))
        opened[-1].service = service
        return opened[-1].__enter__()

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def row(width, size=(30, 20)):
    found = {"class_name": "cat", "score": 0.5, "box": [0, 0, width, 5]}
    return {"width": size[0], "height": size[1], "detections": [found]}


def test_pictures_in_every_form(client):
    ask = client()
    text = base64.b64encode(saved(9)).decode()
    files = [("pictures", saved(7)), ("pictures", saved(8, (10, 20)))]
    for answer, expected in [
        (ask.post("/detect", content=saved(7)), [row(7)]),
        (ask.post("/detect", content=saved(7), headers={"content-type": "image/png"}), [row(7)]),
        (ask.post("/detect", files=files), [row(7), row(8, (10, 20))]),
        (ask.post("/detect", json={"pictures": [text]}), [row(9)]),
        (ask.post("/detect", json={"pictures": [f"data:image/png;base64,{text}"]}), [row(9)]),
        (ask.post("/detect?threshold=0.5", content=saved()), [row(7) | {"detections": []}]),
    ]:
        assert (answer.status_code, answer.json()) == (200, {"pictures": expected})
    for path in ("/", "/health", "/ready"):
        assert ask.head(path).status_code == 200
    assert ask.get("/ready").json() == {"status": "ready"}
    assert ask.get("/health").json() == {"status": "alive"}
    assert ask.get("/model").json() == Finder.metadata
    assert ask.get("/openapi.json").json()["info"]["title"] == "centernet-d2"
    assert "POST /detect" in ask.get("/").text
    numbers = ask.get("/metrics").text
    assert 'centernet_requests_total{path="/detect",status="200"} 6.0' in numbers
    assert "centernet_batch_pictures_sum 7.0" in numbers
    assert "centernet_accepted_pictures 0.0" in numbers


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK"])
@pytest.mark.parametrize("turned", [1, 6])
def test_pictures_are_those_of_the_package_s_reader(tmp_path, mode, turned):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 14, 3), "uint8"))
    form, exif = "JPEG" if mode == "CMYK" else "PNG", Image.Exif()
    exif[0x0112] = turned
    image.convert(mode).save(file := tmp_path / "a", form, exif=exif)
    found = pictures.decoded(pictures.opened(file.read_bytes(), 200, "a"), "a")
    assert found.shape == ((9, 14, 3) if turned == 1 else (14, 9, 3))
    np.testing.assert_array_equal(found, read_image(str(file)))


TYPE = {"content-type": "text/html"}
FILES = [("pictures", saved())]
TEXT, AS_JSON = base64.b64encode(saved()).decode(), {"content-type": "application/json"}
REFUSED = {
    "nothing": ({}, 400, "picture 1 is empty: send bytes"),
    "a text": ({"content": b"/etc/passwd"}, 415, "save it as JPEG, PNG, WebP or BMP"),
    "a GIF": ({"content": saved(form="GIF")}, 415, "no picture that is read here"),
    "an animation": ({"content": animation()}, 415, "an animation: send its frames as pictures"),
    "16 bits": ({"content": saved(mode="I;16")}, 415, "16 bits per channel: save it with 8"),
    "half a JPEG": ({"content": saved(form="JPEG")[:-9]}, 422, "truncated or damaged"),
    "half a PNG": ({"content": saved()[:-20]}, 422, "truncated or damaged"),
    "a bomb": ({"content": bomb()}, 413, "more pixels than the 900 that are taken: scale it"),
    "too many pixels": ({"content": saved(size=(31, 30))}, 413, "more pixels than the 900"),
    "too many bytes": ({"content": b"x" * 5001}, 413, "more than 5000 bytes: send less"),
    "too many, in parts": ({"content": iter([b"x" * 3000] * 2)}, 413, "more than 5000 bytes"),
    "a small one": ({"content": saved(size=(1, 9))}, 422, "takes sides of 2 to 8192"),
    "three pictures": ({"files": FILES * 3}, 413, "3 pictures: give 1 to 2"),
    "four pictures": ({"files": FILES * 4}, 413, "4 pictures: give 1 to 2"),
    "a form without": ({"files": {"projection": (None, "[]")}}, 400, "0 pictures: give 1"),
    "another field": ({"files": [("a", saved())]}, 400, "'a': a form and JSON have"),
    "a text in a form": (
        {"files": FILES, "data": {"pictures": "a"}},
        400,
        'send a form of files as "pictures"',
    ),
    "a bad camera": (
        {"files": FILES, "data": {"projection": "a"}},
        400,
        "JSON cannot be read: Exp",
    ),
    "two cameras": ({"files": FILES, "data": {"projection": ["[]"] * 2}}, 400, "one 'projection'"),
    "a threshold in a form": (
        {"files": FILES, "data": {"threshold": "0.99"}},
        400,
        "threshold and max belong in the query: ?threshold=0.99",
    ),
    "max in JSON": (
        {"json": {"pictures": [TEXT], "max": 1}},
        400,
        "'max': a form and JSON have 'pictures' and one 'projection'; threshold and max",
    ),
    "no form": ({"content": b"a", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
    "no base64": ({"json": {"pictures": [TEXT, "?"]}}, 400, "picture 2 is no base64: send what"),
    "a path in JSON": ({"json": {"pictures": ["/etc/passwd"]}}, 400, "picture 1 is no base64"),
    "a number in JSON": ({"json": {"pictures": [1]}}, 400, "picture 1 is no base64"),
    "no list": ({"json": {"pictures": TEXT}}, 400, "prints, in a list"),
    "an empty list": ({"json": {"pictures": []}}, 400, "0 pictures: give 1 to 2, as 'pictures'"),
    "another key": ({"json": {"images": [TEXT]}}, 400, "'images': a form and JSON have"),
    "other JSON": ({"json": [1]}, 400, 'or JSON {"pictures": ["<base64>", ...]}'),
    "broken JSON": (
        {"content": b'{"pictures": [', "headers": AS_JSON},
        400,
        "the JSON cannot be read: Expecting value: line 1 column 15",
    ),
    "deep JSON": ({"content": b"[" * 4000, "headers": AS_JSON}, 400, "the JSON cannot be read"),
    "another type": ({"content": saved(), "headers": TYPE}, 415, "content type 'text/html'"),
    "no share": (
        {"params": {"threshold": "nan"}},
        400,
        "threshold is 'nan': give a number from 0 to 1",
    ),
    "a negative one": ({"params": {"threshold": "-1"}}, 400, "threshold is '-1': give a number"),
    "an empty one": ({"params": {"threshold": ""}}, 400, "threshold is '': give a number"),
    "none at most": ({"params": {"max": "0"}}, 400, "max is '0': give a whole number, 1 or more"),
    "a slip": (
        {"params": {"treshold": "1"}},
        400,
        "'treshold' is no parameter: there are 'threshold' and 'max'",
    ),
    "twice": (
        {"params": {"threshold": [0.1, 0.9]}, "content": saved()},
        400,
        "threshold comes twice: give it once",
    ),
    "a wrong path": ({"url": "/../etc/passwd"}, 404, "GET / lists those that there are"),
    "a wrong method": ({"method": "PUT"}, 405, "this path takes POST: GET"),
    "another wrong one": ({"url": "/ready"}, 405, "this path takes GET: GET"),
    "two to draw": ({"url": "/draw", "files": FILES * 2}, 413, "2 pictures: give one, as"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_and_why(client, what):
    given, status, told = REFUSED[what]
    ask = client(max_pixels=900, max_pictures=2, max_bytes=5000)
    answer = ask.request(**{"method": "POST", "url": "/detect"} | given)
    assert answer.status_code == status, answer.text
    (sentence,) = answer.json().values()
    assert told in sentence
    assert (
        "/"
        not in sentence.replace("GET /", "")
        .replace("image/", "")
        .replace("text/html", "")[: -1 if "application/json" not in sentence else 0]
    )
    assert ask.service.batcher.taken == 0
    assert ask.post("/detect", content=saved()).json() == {"pictures": [row(7)]}


@pytest.mark.parametrize("fault", [RuntimeError("/home/me/model.onnx"), KeyError("/home/me")])
def test_faults_of_the_detector_stay_in_the_log(client, fault, caplog):
    answer = client(Finder(fault=fault)).post("/detect", content=saved())
    expected = {"error": "the detector failed: the log of the server says why"}
    assert (answer.status_code, answer.json()) == (500, expected)


def test_faults_of_the_server_stay_in_the_log(client, monkeypatch):
    ask = client()
    monkeypatch.setattr(ask.service, "find", None)
    answer = ask.post("/detect", content=saved())
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the server failed: its log says why"},
    )


def test_cameras(client):
    finder, camera = Finder(), np.eye(3, 4).tolist()
    finder.metadata = Finder.metadata | {"default_projection": camera}
    ask, cameras = client(finder), []
    batch = finder.batch
    finder.batch = lambda images, given: cameras.extend(given) or batch(images, given)
    told = ask.post("/detect", files=FILES).json()["note"]
    assert told == "no projection was given: that of the training is taken, scaled to the picture"
    given = {"files": FILES * 2, "data": {"projection": str(camera)}}
    assert "note" not in ask.post("/detect", **given).json()
    assert cameras == [None, camera, camera]


async def asked(service, requests, *, release=None):
    """Answers to requests (method, path, content) that are sent at once."""
    work = asyncio.create_task(service.batcher.run())
    transport = httpx.ASGITransport(app=app.make_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as one:
        tasks = [asyncio.create_task(one.post("/detect", content=c)) for c in requests]
        if release:
            await asyncio.sleep(0.2)
            release()
        answers = await asyncio.gather(*tasks)
    work.cancel()
    return answers


def test_requests_share_a_batch_and_get_their_own_answers():
    finder = Finder(free=False)
    service = app.Service(finder, Options(batch_size=4))
    values, sizes = [*range(1, 11)], [(30, 20), (10, 12)]
    contents = [saved(value, sizes[value % 2]) for value in values]
    contents[4] = saved(5, (1, 9))  # what is wrong with one is wrong with it alone
    answers = asyncio.run(asked(service, contents, release=finder.go.set))
    assert [answer.status_code for answer in answers] == [200] * 4 + [422] + [200] * 5
    found = [a.json()["pictures"][0] for a in answers if a.status_code == 200]
    expected = [row(value, sizes[value % 2]) for value in values if value != 5]
    assert found == expected
    assert max(finder.batches) == 4
    assert (sum(finder.batches), service.batcher.taken) == (9, 0)


def test_what_is_too_much_is_refused_and_nothing_is_lost():
    finder = Finder(free=False)
    service = app.Service(finder, Options(queue=4, max_pictures=4))
    contents = [saved(value) for value in range(1, 21)]
    answers = asyncio.run(asked(service, contents, release=finder.go.set))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 16
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    for value, answer in enumerate(answers, 1):
        if answer.status_code != 429:
            assert answer.json() == {"pictures": [row(value)]}
    assert "ask again in 1 s" in refused[0].json()["error"]
    assert service.batcher.taken == service.batcher._pixels == 0


def test_pixels_in_work_are_bounded():
    finder = Finder(free=False)
    service = app.Service(finder, Options(max_pixels=600))
    answers = asyncio.run(asked(service, [saved()] * 10, release=finder.go.set))
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [429] * 2


def test_a_request_that_takes_too_long_and_one_while_stopping():
    finder = Finder(free=False)
    service = app.Service(finder, Options(timeout=0.1))
    (answer,) = asyncio.run(asked(service, [saved()], release=finder.go.set))
    assert (answer.status_code, "not done in 0.1 s" in answer.text) == (504, True)
    service.stopping = lambda: True
    (answer,) = asyncio.run(asked(service, [saved()]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(("accept", "form"), [("*/*", "PNG"), ("image/jpeg, */*", "JPEG")])
def test_a_drawn_picture(client, accept, form):
    answer = client().post("/draw", content=saved(20), headers={"accept": accept})
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == (form, (30, 20))
    assert answer.headers["content-type"] == f"image/{form.lower()}"
    red, green, blue = image.getpixel((20, 3))  # the box is 20 wide
    assert red > green + 50 < blue + 100
    assert max(image.getpixel((27, 17))) < 40


def test_joints_are_drawn_and_those_that_are_none_are_not():
    joints = np.array([[[20, 20, 0.9], [60, 60, 0.05], [40, 80, 0]]], "float32")
    one = {"scores": np.array([0.5]), "classes": np.array([0]), "class_names": ()}
    content = pictures.drawn(
        np.zeros((99, 99, 3), "uint8"), Detections(keypoints=joints, **one), "PNG"
    )
    image = Image.open(io.BytesIO(content))
    assert image.getpixel((20, 20)) == (255, 89, 89)
    assert image.getpixel((60, 60)) == image.getpixel((40, 80)) == (0, 0, 0)
    assert image.getpixel((62, 60)) == (255, 255, 255)


@pytest.fixture
def server(request, tmp_path):
    """A process that serves a file made by hand, as the package of its own; and its port."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "centernet_d2_runtime").symlink_to(Path(pictures.__file__).parents[1])
    named = ["--model"] if request.node.callspec.params["number"] == signal.SIGINT else []
    model = [*named, str(write_onnx(tmp_path / "a.onnx")), "--port"]
    command = ["-m", "centernet_d2_runtime.serving", *model]
    process = subprocess.Popen(
        [sys.executable, *command, "0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "."},
        stderr=subprocess.PIPE,
        text=True,
    )
    words = process.stderr.readline().split()
    yield process, int(words[2].rpartition(":")[2])
    process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_accepted(server, number):
    process, port = server
    content = saved(10)
    with socket.create_connection(("127.0.0.1", port), 10) as half:
        head = f"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
        half.sendall(head.encode() + content[:9])
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        asking.request("GET", "/health")
        assert asking.getresponse().read() == b'{"status":"alive"}'
        asking.close()
        process.send_signal(number)
        for _ in range(100):  # until new ones are refused
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                break
            time.sleep(0.05)
        half.sendall(content[9:])
        answer = half.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"class_name":"dog","score":0.75,"box":[0.0,0.0,10.0,20.0]' in answer
    assert process.wait(10) == 0
    log = process.stderr.read()
    assert "POST '/detect' 200" in log
    assert "Traceback" not in log


def test_a_server_that_cannot_start(tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    model, split = write_onnx(tmp_path / "a.onnx"), write_onnx(tmp_path / "b.onnx", whole=False)
    (tmp_path / "c.onnx").write_text("no model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, told in {
            (model, "--port", port): f"cannot listen on 127.0.0.1 port {port} ",
            (model, "--host", "192.0.2.1"): "cannot listen on 192.0.2.1 port 8000",
            (model, "--port", "99999"): "give another --port or --host",
            (model, "--weights", "bccd"): "give one of --model (an exported file) and --weights",
            (model, "--opts", "TEST.FLIP", "True"): "--opts goes with --weights: what a file",
            (model, "--device", "cuda"): "--device goes with --weights",
            (model, "--batch-size", "0"): "--batch-size must be 1 or more",
            (model, "--timeout", "nan"): "--timeout must be 0.01 or more",
            (tmp_path / "none.onnx", "--port", "0"): "there is no file '",
            (split, "--port", "0"): "holds the network alone",
            (tmp_path / "c.onnx", "--port", "0"): "cannot read '",
            (tmp_path / "c.pth", "--port", "0"): "ends neither in .onnx nor in .xml",
        }.items():
            assert cli.main(["serve", "--model", *map(str, words)]) == 1
            assert told in capsys.readouterr().err
    assert cli.main(["serve"]) == 1
    assert "give one of --model" in capsys.readouterr().err
    for name in ("server", "app"):
        monkeypatch.delitem(sys.modules, f"centernet_d2.runtime.serving.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert cli.main(["serve", "--model", str(model)]) == 1
    assert "pip install 'centernet-d2[serve]'" in capsys.readouterr().err
