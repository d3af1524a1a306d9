"""The page: what its handlers answer, and all of it in a browser, from the real command."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from local_server import served

from centernet_d2 import Predictor, cli
from centernet_d2.app.pictures import loader

gr = pytest.importorskip("gradio", reason="the page: pip install gradio")
from centernet_d2.app import page as app  # noqa: E402  it imports gradio

CHROMIUM = shutil.which("chromium") or ""


@pytest.fixture
def detect(weights, tmp_path, monkeypatch):
    """A function of what a visitor gives: all that changes on the page, and the warnings."""
    warned = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    handle = app._detecting(loader([*weights.values()], ["MODEL.DEVICE", "cpu"]), tmp_path)

    def call(file, name="hard", camera=None, threshold=0.05):
        given = file and {"path": str(file), "orig_name": "x.png"}
        return *handle(given, weights.get(name, name), camera, threshold), warned

    return call


@pytest.fixture
def upload(photo, tmp_path):
    return Path(shutil.copy(photo, tmp_path / "upload.png"))


def test_a_picture_and_then_another_threshold(detect, upload, monkeypatch):
    seen, camera, told, drawn, above, table, record, warned = detect(upload)
    count = len(table["data"])
    assert told.startswith(f"**{count} found** with a score of 0.05 or more: ")
    assert (camera.visible, above.visible, warned) == (False, False, [])
    assert drawn.shape == (200, 300, 3)
    assert len(json.loads(record)["images"][0]["detections"]) == count
    score = float(seen.result["instances"].scores.max())
    monkeypatch.setattr(Predictor, "batch", None)  # nothing is detected again
    assert app._filtered(seen, score)[0].startswith("**1 found** with a score of ")
    told, plain, _, table, _ = app._filtered(seen, 1.0)
    assert told == f"**0 found** with a score of 1 or more: none; the highest score is {score:.2g}"
    assert (table["data"], table["headers"][:2]) == ([], ["class", "score"])
    assert (plain != drawn).any()
    maps = app._heatmaps(seen)
    assert (maps.value is not None, maps.label) == (True, app.MAPS)


def test_a_detector_of_boxes_in_space_asks_for_a_camera(detect, upload):
    _, camera, told, _, above, *_, warned = detect(upload, "boxes in space")
    assert (camera.visible, above.visible, warned) == (True, True, [])
    assert "No camera is given" in told
    seen, camera, told, drawn, above, *_, warned = detect(upload, "boxes in space", "seven")
    assert warned == [told] == ["the camera must be numbers, not 'seven'"]
    assert (seen, drawn, above.visible, camera.visible) == (None, None, False, True)


def test_faults_are_a_sentence_without_folders(detect, upload, photo, tmp_path):
    upload.write_text("no picture at all")
    told = detect(upload)[2]
    assert told.startswith("image file 'upload.png' has no readable header")
    assert str(tmp_path) not in told
    assert detect(photo)[2] == "that is no picture that was uploaded: drop it on the page"
    assert detect(None, "/etc/passwd")[2] == "there is no model 'passwd': choose one of the list"
    assert detect(None)[2] == "Finds: disk, ring, square, diamond, triangle"
    assert app._filtered(None, 0.3)[1] is None
    assert app._heatmaps(None).value is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--weights", "nowhere.pth"], "'nowhere.pth': there is no such file"),
        (["--model", "nowhere.onnx"], "'nowhere.onnx': there is no such file"),
        (["--examples", "nowhere"], "--examples 'nowhere' is no folder with pictures"),
        (["--host", "no.such.host.invalid"], "cannot be at --host no.such.host.invalid"),
        (["--port", "{taken}"], "--port {taken}, Address already in use"),
    ],
)
def test_a_command_that_cannot_be(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with served(http.server.BaseHTTPRequestHandler) as address:
        taken = address.rpartition(":")[2]
        given = [each.format(taken=taken) for each in arguments]
        assert cli.main(["app", *given, "--opts", "MODEL.DEVICE", "cpu"]) == 1
    assert told.format(taken=taken) in capsys.readouterr().err


def test_without_gradio(capsys, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "centernet_d2.app.page")
    assert cli.main(["app", "--weights", "bccd"]) == 1
    told = capsys.readouterr().err
    assert "The page needs gradio, which is missing here: " in told
    assert "pip install gradio" in told


class Outside(http.server.BaseHTTPRequestHandler):
    """Stands for the world outside: notes who calls it."""

    called: list[str] = []

    def do_GET(self):
        self.called.append(self.path)
        self.send_error(404)

    do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path, weights):
    """Of the real command, which ends with 0 at Ctrl-C, leaves nothing and calls nobody."""
    Outside.called.clear()
    command = [sys.executable, "-m", "centernet_d2", "app", "--port", "0"]
    command += ["--weights", "bccd", weights["boxes in space"]]
    with served(Outside) as outside, open(tmp_path / "log", "w+") as log:
        env = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), outside)
        env |= {"TMPDIR": str(tmp_path), "no_proxy": ""}
        process = subprocess.Popen(
            [*command, "--opts", "MODEL.DEVICE", "cpu"],
            env=env,
            stdout=log,
            stderr=log,
            # It may have been ignored by the shell that started the tests.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            until = time.monotonic() + 200
            while " is the page" not in (text := Path(log.name).read_text()):
                assert process.poll() is None, text
                assert time.monotonic() < until, text
                time.sleep(0.1)
            yield next(w for w in text.split() if w.startswith("http://127.0.0.1:"))
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, Path(log.name).read_text()
            assert "Traceback" not in Path(log.name).read_text()
        finally:
            process.kill()
    assert not list(tmp_path.glob("centernet_d2_app*"))
    assert Outside.called == []


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("a browser: chromium is not installed")
    with playwright.sync_playwright() as api:
        chromium = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def cells(tmp_path):
    """A drawing that the model in the package takes for five red blood cells."""
    picture = np.full((240, 320, 3), (205, 215, 205), np.uint8)
    for x, y, radius in ((60, 60, 26), (160, 90, 27), (250, 60, 25), (90, 170, 26), (220, 180, 28)):
        cv2.circle(picture, (x, y), radius, (150, 150, 205), -1, cv2.LINE_AA)
        cv2.circle(picture, (x, y), radius // 3, (175, 180, 215), -1, cv2.LINE_AA)
    path = str(tmp_path / "cells.png")
    cv2.imwrite(path, picture)
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_in_a_browser(address, browser, cells, weights, tmp_path):
    outside, faults = [], []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)  # a busy machine
    page.on("pageerror", lambda error: faults.append(str(error)))
    local = ("data:", "blob:", address)
    page.on("request", lambda r: None if r.url.startswith(local) else outside.append(r.url))
    page.goto(address)
    page.get_by_text("Finds: Platelets, RBC, WBC").wait_for()
    page.set_input_files("#given input[type=file]", cells)
    scores = Predictor("bccd", ["MODEL.DEVICE", "cpu"]).batch([cells])[0]["instances"].scores
    for threshold in (0.3, 0.08, 0.79):
        page.fill("#score input[type=number]", str(threshold))
        page.press("#score input[type=number]", "Enter")
        count = int((scores >= threshold).sum())
        assert count > 0
        page.get_by_text(f"{count} found").wait_for()
        page.locator(f"#table [role=grid][aria-rowcount='{count + 1}']").wait_for()
    page.screenshot(path=str(tmp_path / "wide.png"), full_page=True)
    drawn = decoded(page, page.locator("#drawn img").get_attribute("src"))
    given = cv2.imread(cells)
    assert drawn.shape == given.shape
    changed = np.abs(drawn.astype(int) - given).max(axis=2) > 100
    assert 200 < changed.sum() < changed.size / 4
    page.get_by_role("tab", name="Heatmaps").click()
    maps = decoded(page, page.locator("#maps img").get_attribute("src"))
    assert (maps.shape[1], maps.shape[0] > 240) == (320, True)  # with the legend
    page.get_by_role("tab", name="JSON").click()
    with page.expect_download() as download:
        page.locator("#json [aria-label=Download], #json [title=Download]").first.click()
    record = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename.endswith(".json")
    assert len(record["images"][0]["detections"]) == count
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#model input")
    page.get_by_role("option", name="/boxes in space.pth").click()
    page.get_by_role("tab", name="Detections").click()
    page.locator("#camera").wait_for()
    page.get_by_text("No camera is given").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=str(tmp_path / "phone.png"), full_page=True)
    assert (outside, faults) == ([], [])
    assert page.get_by_label("Share").count() == 0
    for path in ("/etc/passwd", str(tmp_path / "log"), cells):
        assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
    assert "uploaded" in forged(address, cells)


def decoded(page, source: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(page.request.get(source).body(), np.uint8), 1)


def forged(address: str, path: str) -> str:
    """What is answered to a request of a file of the server, which the page would not make."""
    functions = httpx.get(f"{address}config").json()["dependencies"]
    number = next(each["id"] for each in functions if each["api_name"] == "detect")
    body = {"fn_index": number, "data": [{"path": path}, "bccd", "", 0.3], "session_hash": "x"}
    assert httpx.post(f"{address}gradio_api/queue/join", json=body).status_code == 200
    answer = f"{address}gradio_api/queue/data?session_hash=x"
    with httpx.stream("GET", answer, timeout=30) as stream:
        return next(line for line in stream.iter_lines() if "process_completed" in line)
