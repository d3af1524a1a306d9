"""A page that is written twice: as Markdown, and as HTML that holds its pictures."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..analysis.report import PAGE, figure_html
from ..atomic_write import atomic_write


class Page:
    """Collects parts; `write` makes `report.md` and `report.html` in a folder."""

    def __init__(self, folder: str) -> None:
        self.folder, self._parts = Path(folder), list[tuple[str, str]]()  # Markdown, HTML

    def add(self, text: str) -> None:
        """Add a paragraph, or a heading, "## ...", with **strong** words and `code`."""
        tag, page = "h2" if text.startswith("## ") else "p", escape(text.removeprefix("## "))
        page = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", page)
        page = re.sub("`(.+?)`", r"<code>\1</code>", page)
        own = f' id="{page}"' if tag == "h2" else ""
        self._parts.append((text, f"<{tag}{own}>{page}</{tag}>"))

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        told = {"headers": "keys", "disable_numparse": True}
        markdown, page = (tabulate(rows, tablefmt=form, **told) for form in ("pipe", "html"))
        # Links to headings; an interval stays in its line.
        page = re.sub(r"\[(.+?)\]\(#(.+?)\)", r'<a href="#\2">\1</a>', page)
        page = re.sub(r" (?=\(|to [+-]|[+-]\d)", "&nbsp;", page)
        self._parts.append((markdown, f'<div class="wide" style="white-space:normal">{page}</div>'))

    def figure(self, name: str, caption: str, draw: Callable[[str], object]) -> None:
        """Let `draw` write a picture to the file that it is given, and add it."""
        file = self.folder / "report" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(str(file))
        markdown = f"![{caption}](report/{name}.png)\n\n{caption}."
        self._parts.append((markdown, figure_html(str(file), caption)))

    def write(self, title: str) -> None:
        markdown, page = zip((f"# {title}", ""), *self._parts, strict=True)
        body = PAGE.format(title=escape(title), body="\n".join(page))
        for name, text in (("report.md", "\n\n".join(markdown) + "\n"), ("report.html", body)):
            with atomic_write(self.folder / name, "w") as file:
                file.write(text)
