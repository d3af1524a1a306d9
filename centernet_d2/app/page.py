"""The page itself, of Gradio: its layout, and what happens when something on it changes."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from .models import Models
from .pictures import HEADERS, Seen, heatmaps, look, show

logger = logging.getLogger(__name__)

THRESHOLD = 0.3  # as `predict`
MOST_BYTES = "20mb"  # of an upload
# Of a visitor's picture or camera, of a model, or of the machine's memory.
_FAULTS = (ImportError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
_KEPT = 3600  # seconds that a visitor's picture stays
_VISITORS = 100  # whose pictures are in memory, and who wait at once
_FOLDERS = re.compile(r"'(?:/|[A-Za-z]:\\)[^']*[/\\]([^']+)'")  # of this machine, in a message
_CAMERA = "Focal length in pixels, or 9 or 12 numbers of its matrix. Empty: the model's default."
_NO_TABLE = {"headers": list(HEADERS), "data": []}
_HEATMAPS = "Where the model sees centers, corners or joints, before objects are made of them."
_NO_HEATMAPS = "An exported file gives detections alone: choose weights to see heatmaps."
# The browser makes the file, so that none lies on the server.
_SAVE = """(content) => {
  if (!content) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], {type: "application/json"}));
  link.download = JSON.parse(content).images[0].file.replace(/\\.[^.]*$/, "") + ".json";
  link.click();
  URL.revokeObjectURL(link.href);
}"""


def build(models: Models, examples: Sequence[str], uploads: Path) -> gr.Blocks:
    """Lay out the page; the first model is loaded, so that its fault ends the command.

    `uploads` is the folder of what visitors send, GRADIO_TEMP_DIR.
    """
    first = models.get(models.labels[0])
    with (
        gr.Blocks(title="centernet_d2", analytics_enabled=False, delete_cache=(_KEPT,) * 2) as page,
        gr.Row(),
    ):
        with gr.Column(scale=2, min_width=320):
            sources = ["upload", "webcam", "clipboard"]
            how = {"sources": sources, "type": "filepath", "image_mode": None, "buttons": []}
            given = gr.Image(label="Picture", height=320, elem_id="given", **how)
            model = gr.Dropdown(models.labels, label="Model", elem_id="model")
            how = {"info": _CAMERA, "submit_btn": True, "visible": first.has_cameras}
            camera = gr.Textbox(label="Camera", elem_id="camera", **how)
            threshold = gr.Slider(0, 1, THRESHOLD, step=0.01, label="Lowest score", elem_id="score")
            if examples:
                gr.Examples(
                    [[file] for file in examples],
                    given,
                    label="Examples",
                    examples_per_page=len(examples),
                )
        with gr.Column(scale=3, min_width=320):
            told = gr.Markdown(_finds(first.class_names), elem_id="told")
            how = {"interactive": False, "format": "jpeg", "buttons": ["download", "fullscreen"]}
            with gr.Tabs():
                with gr.Tab("Detections"):
                    drawn = gr.Image(show_label=False, elem_id="drawn", **how)
                    above = gr.Image(label="From above", visible=False, elem_id="above", **how)
                with gr.Tab("Heatmaps"):
                    says = gr.Markdown(_HEATMAPS)
                    maps = gr.Image(show_label=False, elem_id="maps", **how)
            table = gr.Dataframe(_NO_TABLE, interactive=False, show_label=False, elem_id="table")
            save, content = gr.Button("Download as JSON"), gr.Textbox(visible=False)
        seen, shown = gr.State(time_to_live=_KEPT), [told, drawn, above, table]
        own = {"api_visibility": "private", "trigger_mode": "always_last"}
        gr.on(
            [given.change, model.change, camera.submit],
            _detecting(models, uploads),
            [given, model, camera, threshold],
            [seen, camera, *shown],
            preprocess=False,  # files come as they were uploaded
            concurrency_id="model",
            **own,
        ).then(_heatmaps, seen, [maps, says], concurrency_id="model", **own)
        threshold.change(_filtered, [seen, threshold], shown, show_progress="hidden", **own)
        save.click(_record, [seen, threshold], content, **own).then(None, content, js=_SAVE)
    return page.queue(max_size=_VISITORS)


def serve(page: gr.Blocks, host: str, port: int) -> str:
    """Serve a page from a thread, to be ended by `page.close()`; return its address."""
    _, address, _ = page.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=MOST_BYTES,
        state_session_capacity=_VISITORS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )
    return address


def _detecting(models: Models, uploads: Path) -> Callable[..., tuple[Any, ...]]:
    def detect(
        given: dict[str, Any] | None, label: str, camera: str | None, threshold: float
    ) -> tuple[Any, ...]:
        seen, model = None, None
        try:
            model = models.get(label)
            told = _finds(model.class_names)
            if given:
                # A request that the page did not make can name any file.
                if not Path(given["path"]).resolve().is_relative_to(uploads.resolve()):
                    raise ValueError("that is no picture that was uploaded: drop it on the page")
                name = Path(given.get("orig_name") or given["path"]).name
                seen = look(model, given["path"], name, camera or "")
        except _FAULTS as error:
            told = sentence(error)
            gr.Warning(told)
        has_cameras = model is not None and model.has_cameras
        return seen, gr.Textbox(visible=has_cameras), *_filtered(seen, threshold, told)

    return detect


def _filtered(seen: Seen | None, threshold: float, told: str = "") -> tuple[Any, ...]:
    """Text, pictures and table of what scores enough."""
    if seen is None:
        return told or gr.skip(), None, gr.Image(None, visible=False), _NO_TABLE
    shown = show(seen, threshold)
    above = None if shown.above is None else shown.above[:, :, ::-1]
    return (
        tell(seen, shown.record["images"][0], threshold),
        shown.picture[:, :, ::-1],
        gr.Image(above, visible=above is not None),
        {"headers": shown.headers, "data": shown.rows},
    )


def _heatmaps(seen: Seen | None) -> tuple[np.ndarray | None, str]:
    drawn = heatmaps(seen) if seen else None
    if drawn is None:
        return None, _NO_HEATMAPS if seen else _HEATMAPS
    return drawn[:, :, ::-1], _HEATMAPS


def _record(seen: Seen | None, threshold: float) -> str:
    return json.dumps(show(seen, threshold).record, indent=1) if seen else ""


def _finds(class_names: Sequence[str]) -> str:
    return f"Finds: {', '.join(class_names)}" if class_names else "Its classes have no names."


def tell(seen: Seen, record: dict[str, Any], threshold: float) -> str:
    """What was found, and the notes, as Markdown."""
    found = record["detections"]
    counts = Counter(entry["class_name"] for entry in found).most_common()
    told = f"**{len(found)} detection{'s' * (len(found) != 1)}**"
    told += f" that score{'s' * (len(found) == 1)} {threshold:g} or more"
    if counts:
        told += f": {', '.join(f'{count} {name}' for name, count in counts)}"
    elif record["highest_score"]:
        told += f"; the highest score is {record['highest_score']:.2g}"
    return "\n\n".join([told, *seen.notes])


def sentence(error: BaseException) -> str:
    """What a visitor is told of a fault: no trace, and no folder of this machine."""
    logger.debug("A picture or a model could not be used:", exc_info=error)
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return _FOLDERS.sub(r"'\1'", text.strip() or type(error).__name__)
