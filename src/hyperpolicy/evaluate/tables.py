"""Tables as text: numbers, Markdown, and rich tables for the terminal."""

import re
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hyperpolicy.terminal import Sheet

NONE = "–"
NUMERIC = re.compile(r"[−\d\[].*|–|broken")


def number(value: float | None, digits: int = 1) -> str:
    """'−16.4', with a true minus sign; '–' for None, 'broken' for NaN."""
    if value is None:
        return NONE
    if np.isnan(value):
        return "broken"
    value = round(value, digits) + 0.0  # no −0.0
    return f"{value:.{digits}f}".replace("-", "−")


def interval_text(ends: tuple[float, float], digits: int = 1, scale: float = 1.0) -> str:
    """'[−17.0, −15.8]', with up to three more digits if narrow; '–' where it is not known or has no
    width."""
    low, high = scale * ends[0], scale * ends[1]
    for shown in range(digits, digits + 4):
        if number(low, shown) != number(high, shown) and high > low:
            return f"[{number(low, shown)}, {number(high, shown)}]"
    return NONE


def amount(count: int | None) -> str:
    """'12.4 M' for 12,400,000 and '0' for nothing; '–' for None."""
    if count is None:
        return NONE
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that its source reads well; numbers are aligned to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    right = [numeric([row[i] for row in rows]) for i in range(len(header))]

    def line(cells):
        sides = zip(cells, widths, right, strict=True)
        return "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in sides) + " |"

    rule = "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True))
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def rich_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ""
) -> Table:
    """The same for the terminal, with a line below it if there is a caption."""
    table = Sheet(
        title=title,
        title_justify="left",
        caption=caption or None,
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for i, name in enumerate(header):
        right = numeric([row[i] for row in rows])
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def numeric(cells: Sequence[str]) -> bool:
    return all(NUMERIC.fullmatch(cell.strip("*")) for cell in cells)
