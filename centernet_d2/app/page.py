"""The page itself, of Gradio: its layout, and what happens when something on it changes."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .pictures import Seen, has_cameras, heatmaps, look, show

# Of a visitor's picture or camera, of a model, or of the machine's memory.
FAULTS = (ImportError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
KEPT, VISITORS = 3600, 100  # seconds that a picture stays; whose are in memory, and who wait
LAUNCH: dict[str, Any] = {"share": False, "ssr_mode": False, "run_history": False, "quiet": True}
LAUNCH |= {"prevent_thread_lock": True, "footer_links": [], "state_session_capacity": VISITORS}
LAUNCH |= {"max_file_size": "20mb", "theme": gr.themes.Default(font="sans-serif")}
CAMERA = "Focal length in pixels, or 9 or 12 numbers of its matrix. Empty: the model's default."
MAPS = "Where the model sees centers, corners or joints"
FINDS, NO_MAPS = "Finds: ", "An exported file has no heatmaps: choose weights to see them"
EMPTY: dict[str, Any] = {"headers": ["class", "score"], "data": []}
Answer, Load = tuple[Any, ...], Callable[[str], Any]


def build(names: Sequence[str], load: Load, examples: Sequence[str], uploads: Path) -> gr.Blocks:
    """Lay out the page for models of these names; the first is loaded, its fault ends the command.

    `uploads` is the folder of what visitors send, GRADIO_TEMP_DIR.
    """
    first = load(names[0])
    shown: dict[str, Any] = {"interactive": False, "format": "jpeg"}
    shown["buttons"] = ["download", "fullscreen"]  # not "share", which sends it elsewhere
    choices = [("/".join(Path(name).parts[-2:]), name) for name in names]
    with gr.Blocks(title="centernet_d2", delete_cache=(KEPT, KEPT)) as page, gr.Row():
        with gr.Column(scale=2, min_width=320):
            given = gr.Image(label="Picture", height=320, elem_id="given", buttons=[])
            model = gr.Dropdown(choices, label="Model", elem_id="model")
            camera = gr.Textbox(label="Camera", info=CAMERA, submit_btn=True, elem_id="camera")
            camera.visible = has_cameras(first)
            score = gr.Slider(0, 1, 0.3, step=0.01, label="Lowest score", elem_id="score")
            gr.Examples([[e] for e in examples], given, examples_per_page=len(examples))
        with gr.Column(scale=3, min_width=320):
            told = gr.Markdown(FINDS + ", ".join(first.class_names), elem_id="told")
            with gr.Tab("Detections"):
                drawn = gr.Image(show_label=False, elem_id="drawn", **shown)
                above = gr.Image(label="From above", elem_id="above", visible=False, **shown)
                table = gr.Dataframe(EMPTY, interactive=False, show_label=False, elem_id="table")
            with gr.Tab("Heatmaps"):
                maps = gr.Image(label=MAPS, elem_id="maps", **shown)
            with gr.Tab("JSON"):
                record = gr.Code(language="json", label="Detections", max_lines=30, elem_id="json")
        seen, results = gr.State(time_to_live=KEPT), [told, drawn, above, table, record]
        how: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
        changes, inputs = [given.change, model.change, camera.submit], [given, model, camera, score]
        detect, outputs = _detecting(load, uploads), [seen, camera, *results]
        # Without `preprocess` files come as they were uploaded.
        detected = gr.on(changes, detect, inputs, outputs, preprocess=False, **how)
        detected.then(_heatmaps, seen, maps, **how)
        score.change(_filtered, [seen, score], results, show_progress="hidden", **how)
    return page.queue(max_size=VISITORS)


def _detecting(load: Load, uploads: Path) -> Callable[..., Answer]:
    def detect(given: dict[str, Any] | None, name: str, camera: str | None, score: float) -> Answer:
        seen, predictor = None, None
        try:
            predictor = load(name)
            told = FINDS + ", ".join(predictor.class_names)
            # A request that the page did not make can name any file.
            if given and not Path(given["path"]).resolve().is_relative_to(uploads.resolve()):
                raise ValueError("that is no picture that was uploaded: drop it on the page")
            seen = look(predictor, given["path"], camera or "") if given else None
        except FAULTS as error:
            # A message tells no folder of this machine.
            told = re.sub(r"'(?:/|[A-Za-z]:\\)[^']*[/\\]([^']+)'", r"'\1'", str(error))
            gr.Warning(told)
        space = predictor is not None and has_cameras(predictor)
        return seen, gr.Textbox(visible=space), *_filtered(seen, score, told)

    return detect


def _filtered(seen: Seen | None, score: float, told: str = "") -> Answer:
    """Text, pictures, table and JSON of what scores enough."""
    if seen is None:
        return told or gr.skip(), None, gr.Image(None, visible=False), EMPTY, ""
    drawn, above, table, record = show(seen, score)
    names = Counter(row[0] for row in table["data"])
    highest = record["images"][0]["highest_score"] or 0
    found = ", ".join(f"{count} {name}" for name, count in names.most_common())
    told = f"**{names.total()} found** with a score of {score:g} or more: "
    told += found or f"none; the highest score is {highest:.2g}"
    view = gr.Image(None if above is None else above[:, :, ::-1], visible=above is not None)
    text = "\n\n".join([told, *seen.notes])
    return text, drawn[:, :, ::-1], view, table, json.dumps(record, indent=1)


def _heatmaps(seen: Seen | None) -> Any:
    drawn = heatmaps(seen) if seen else None
    label = NO_MAPS if seen and drawn is None else MAPS
    return gr.Image(None if drawn is None else drawn[:, :, ::-1], label=label)
