"""A page that is written twice, as Markdown and as HTML that holds its pictures."""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..analysis.report import PAGE
from ..atomic_write import atomic_write

FIGURES = "report"  # folder of the figures, beside the page


class Page:
    """Collects parts; `write` makes `report.md` and `report.html` in a folder."""

    def __init__(self, title: str, folder: str) -> None:
        self.title, self.folder = title, folder
        self._markdown, self._html = [f"# {title}"], list[str]()

    def heading(self, text: str) -> None:
        self._add(f"## {text}", f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph, in which **words** may be strong."""
        strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
        self._add(text, f"<p>{strong}</p>")

    def code(self, text: str) -> None:
        self._add(f"```\n{text}\n```", f"<p><code>{html.escape(text)}</code></p>")

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        forms = (
            tabulate(rows, "keys", tablefmt=form, disable_numparse=True)
            for form in ("pipe", "html")
        )
        markdown, page = forms
        self._add(markdown, f'<div class="wide">{page}</div>')

    @contextmanager
    def figure(self, name: str, caption: str) -> Iterator[str]:
        """Let the block write a picture to the file that it is given, and add it."""
        file = Path(self.folder, FIGURES, f"{name}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        yield str(file)
        data = base64.b64encode(file.read_bytes()).decode()
        text = html.escape(caption)
        picture = (
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><br>{text}</figure>'
        )
        self._add(f"![{caption}]({FIGURES}/{name}.png)\n\n{caption}", picture)

    def write(self) -> None:
        body = "\n".join(self._html)
        pages = {"md": "\n\n".join(self._markdown) + "\n"}
        pages["html"] = PAGE.format(title=html.escape(self.title), body=body)
        for ending, text in pages.items():
            with atomic_write(os.path.join(self.folder, f"report.{ending}"), "w") as file:
                file.write(text)

    def _add(self, markdown: str, page: str) -> None:
        self._markdown.append(markdown)
        self._html.append(page)
