"""Letters outside ASCII are drawn as themselves, whatever OpenCV can draw."""

from __future__ import annotations

import cv2
import matplotlib as mpl
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from matplotlib import font_manager

from centernet_d2.visualization import text as text_room
from centernet_d2.visualization.canvas import draw_caption, image_grid, side_by_side, write_picture
from centernet_d2.visualization.detections import draw_detections
from centernet_d2.visualization.heatmaps import draw_heatmap
from centernet_d2.visualization.results import draw_result
from centernet_d2.visualization.text import FONT, draw_text, line_size, text_size

LATIN = "Löwe кошка γάτα"  # in the font that matplotlib brings
_put_text, _get_text_size = cv2.putText, cv2.getTextSize


def marks(text: str) -> str:
    return "".join(c if c.isascii() else "?" * len(c.encode()) for c in text)


@pytest.fixture
def opencv4(monkeypatch):
    """OpenCV 4: one question mark for each byte of a letter outside ASCII."""
    forget()
    monkeypatch.setattr(cv2, "putText", lambda p, t, *more: _put_text(p, marks(t), *more))
    monkeypatch.setattr(cv2, "getTextSize", lambda t, *more: _get_text_size(marks(t), *more))
    yield
    forget()


def forget():
    for each in (text_room._drawable, text_room._cv2_draws, text_room._font_with, text_room._tell):
        each.cache_clear()


def drawn(text: str, *, scale: float = 1.0) -> np.ndarray:
    picture = np.full((60, 400, 3), 255, np.uint8)
    draw_text(picture, text, (5, 40), scale, (0, 0, 200))
    return picture


def test_ascii_is_drawn_by_opencv_as_ever():
    expected = np.full((60, 400, 3), 255, np.uint8)
    _put_text(expected, "cat 0.93?", (5, 40), FONT, 1.0, (0, 0, 200), 1, cv2.LINE_AA)
    np.testing.assert_array_equal(drawn("cat 0.93?"), expected)
    (width, height), below = _get_text_size("cat", FONT, 1.0, 1)
    assert text_size("cat", 1.0) == (width, height, below)


def test_other_letters_are_no_question_marks(opencv4):
    assert not text_room._cv2_draws("ö")
    found = drawn(LATIN)
    assert (found != drawn(marks(LATIN))).any()
    pictures = [drawn(letter) for letter in "ößЯγ?"]
    for k, one in enumerate(pictures):
        assert (one != 255).any()
        assert not any(np.array_equal(one, other) for other in pictures[:k])
    assert (found[..., 2] >= found[..., 0]).all()


@pytest.mark.parametrize("scale", [0.35, 1.0, 3.0])
def test_letters_lie_in_the_place_that_is_told(opencv4, scale):
    width, height, below = text_size(LATIN, scale)
    picture = np.full((200, 1400, 3), 255, np.uint8)
    draw_text(picture, LATIN, (10, 120), scale, (0, 0, 0))
    rows, columns = np.nonzero((picture != 255).any(axis=2))
    assert 120 - height <= rows.min() < 120 - 0.6 * height
    assert rows.max() <= 120 + below
    assert 10 <= columns.min() <= columns.max() <= 10 + width + 1
    assert columns.max() > 10 + 0.95 * width
    ascii_width = text_size("Lowe koshka gata", scale)[0]
    assert 0.6 < width / ascii_width < 1.5
    assert line_size([LATIN], scale) >= line_size([], scale)


@pytest.mark.parametrize("place", [(-500, -500), (0, 0), (1e6, 1e6), (380, 2)])
def test_captions_and_titles_of_small_pictures(opencv4, place):
    for shape in ((1, 1, 3), (20, 400, 3), (300, 5, 3)):
        picture = np.zeros(shape, np.uint8)
        draw_caption(picture, f"{LATIN}\n\t0.93", np.array(place), (0, 255, 255))
        assert side_by_side([picture, picture], [LATIN, "cat"]).ndim == 3


def test_a_letter_without_a_font_is_its_code_and_told_once(opencv4, monkeypatch, caplog):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    for number in range(3):
        coded = drawn(f"U+0E41U+0E21U+0E27 {number}", scale=0.7)
        np.testing.assert_array_equal(drawn(f"แมว {number}", scale=0.7), coded)
    (record,) = caplog.records
    assert "has all of the letters ม ว แ:" in record.getMessage()
    assert "Install one that has" in record.getMessage()


def test_fonts_that_draw_frames_are_passed_over(monkeypatch, tmp_path):
    forget()
    folder = f"{mpl.get_data_path()}/fonts/ttf"
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts = [f"{folder}/LastResortHE-Regular.ttf", str(tmp_path / "broken.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: fonts)
    assert text_room._font_with(frozenset({ord("ö")})).endswith("DejaVuSans.ttf")
    assert text_room._font_with(frozenset({ord("猫")})) is None
    forget()


@pytest.mark.parametrize("threshold", [30, -0.5, float("nan"), "0.3"])
def test_thresholds_that_no_score_has(threshold):
    picture, heatmap = np.zeros((8, 8, 3), np.uint8), np.zeros((1, 2, 2))
    found = Instances((8, 8), pred_boxes=Boxes(np.zeros((0, 4))), scores=torch.zeros(0))
    cases = {draw_detections: found, draw_result: {"instances": found}, draw_heatmap: heatmap}
    for draw, given in cases.items():
        with pytest.raises(ValueError, match="threshold must be a number, 0 or more and at most 1"):
            draw(picture, given, threshold=threshold)


def test_a_grid_has_columns():
    with pytest.raises(ValueError, match="columns must be a whole number, 1 or more, got 0"):
        image_grid([np.zeros((8, 8, 3), np.uint8)], columns=0)


@pytest.mark.parametrize("name", ["a.nothing", "a", "folder.png"])
def test_a_picture_that_cannot_be_written_is_told(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    write_picture(str(tmp_path / "new" / "a.png"), np.zeros((3, 4, 3), np.uint8))
    assert cv2.imread(str(tmp_path / "new" / "a.png")).shape == (3, 4, 3)
    with pytest.raises(OSError, match=rf"Cannot write the picture .*{name}: "):
        write_picture(str(tmp_path / name), np.zeros((3, 4, 3), np.uint8))
