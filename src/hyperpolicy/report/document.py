"""A report as one HTML file that needs nothing beside it: pictures and films lie inside.

What stands in it is text from files that may come from a stranger, so everything is escaped, and a
policy of the page forbids scripts and whatever would be fetched.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from hyperpolicy import files
from hyperpolicy.evaluate.tables import numeric

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
KINDS = {".png": "image/png", ".svg": "image/svg+xml", ".mp4": "video/mp4"}
MOST_BYTES = 8 * 2**20
"""Of a picture or a film; a larger one is named, not shown."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, as HTML."""

    title: str
    parts: tuple[str, ...]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def save(
    path: str | Path,
    title: str,
    lead: str,
    sections: Sequence[Section],
    overwrite: bool = False,
) -> Path:
    """Write a report; `lead` is a sentence below its title.

    Raises:
        AlreadyExists: `path` exists and `overwrite` is false.
        BadFile, DiskFull: it cannot be written.
    """
    links = "".join(f'<a href="#{one.anchor}">{escape(one.title)}</a>' for one in sections)
    body = "".join(
        f'<section id="{one.anchor}"><h2>{escape(one.title)}</h2>{"".join(one.parts)}</section>\n'
        for one in sections
    )
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
<nav aria-label="Sections">{links}</nav>
{body}</body>
</html>
"""
    return files.write(path, lambda p: p.write_text(text, encoding="utf-8"), overwrite)


# --- Parts --------------------------------------------------------------------------------
def paragraph(text: str, note: bool = False) -> str:
    """Text; a `note` is smaller."""
    opened = '<p class="note">' if note else "<p>"
    return f"{opened}{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], bold: Iterable[str] = ()) -> str:
    """A table that scrolls sideways where it is wider than the page; rows whose first cell is one
    of `bold` are bold."""
    right = [numeric([row[i] for row in rows]) for i in range(len(header))]
    kinds = [' class="number"' if one else "" for one in right]
    heads = "".join(f"<th{k}>{escape(c)}</th>" for c, k in zip(header, kinds, strict=True))
    bold, lines = set(bold), []
    for row in rows:
        ends = ("<strong>", "</strong>") if row[0] in bold else ("", "")
        cells = zip(row, kinds, strict=True)
        lines.append("".join(f"<td{k}>{ends[0]}{escape(c)}{ends[1]}</td>" for c, k in cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(record: Mapping[str, Any]) -> str:
    """What a record says, a line a name; what is nested is written 'outer.inner'."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in flat(record)
    )
    return f'<div class="scroll"><table class="facts">{rows}</table></div>'


def flat(record: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """The names and values of a nested record; long lists are counted, not listed."""
    found = []
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{before}{name}.")
        else:
            found.append((f"{before}{name}", _short(value)))
    return found


def _short(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, list | tuple | dict):
        return str(value)
    text = ", ".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)
    if len(text) <= 200:
        return text
    return f"{len(value)} entries, such as {_short(next(iter(value)))[:80]}"


def folded(title: str, *parts: str) -> str:
    """Parts that show when their title is touched."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def figures(*parts: str) -> str:
    """Pictures side by side where there is room."""
    return f'<div class="figures">{"".join(parts)}</div>'


def picture(path: Path, about: str, wide: bool = False) -> str:
    """A PNG or SVG file, shown; `about` stands below it and is read aloud."""
    kind = "wide" if wide else ""
    return _shown(path, about, kind, '<img alt="{about}" src="{data}">')


def film(path: Path, about: str) -> str:
    """An mp4 file, to be played."""
    player = '<video controls loop muted playsinline aria-label="{about}" src="{data}"></video>'
    return _shown(path, about, "wide", player)


def _shown(path: Path, about: str, kind: str, element: str) -> str:
    """BadFile where it cannot be read."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            return paragraph(f"{path.name} ({files.size_text(size)}) is too large to lie in here.")
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise files.fault(path, error) from error
    inside = element.format(about=escape(about), data=f"data:{KINDS[path.suffix]};base64,{data}")
    opened = f'<figure class="{kind}">' if kind else "<figure>"
    return f"{opened}{inside}<figcaption>{escape(about)}</figcaption></figure>"


def markdown(text: str) -> str:
    """Markdown as HTML, its own HTML escaped, its headings two levels down; without its pictures
    and links, which would lead out of the file."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for kind in ("image", "link_open", "link_close"):
        parser.add_render_rule(kind, lambda *_: "")
    html = parser.render(text)
    for level in (4, 3, 2, 1):
        deeper = min(6, level + 2)
        html = html.replace(f"<h{level}>", f"<h{deeper}>").replace(f"</h{level}>", f"</h{deeper}>")
    html = html.replace("<table>", '<div class="scroll"><table>')
    return html.replace("</table>", "</table></div>")
