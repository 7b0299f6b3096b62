"""What is printed, made fit for where it goes: its characters, its width, and no text that comes
out of a file and steers the terminal.
"""

import codecs
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

FILE_COLUMNS = 140
"""Columns of a table in a file or a pipe."""

PLAIN = {
    "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "·": ".", "•": "*", "°": " deg",
    "→": "->", "←": "<-", "⇄": "<->", "≥": ">=", "≤": "<=", "≈": "~", "±": "+-", "√": "sqrt",
    "✓": "ok", "✗": "!!", "²": "^2", "³": "^3", "₁": "1", "₂": "2", "∈": "in", "∞": "inf",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta",
    "θ": "theta", "λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "phi", "Δ": "Delta", "Σ": "Sigma", "“": '"', "”": '"', "‘": "'", "’": "'",
    "─": "-", "━": "-", "│": "|", "┃": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
    "╸": "-", "╺": "-", "é": "e", "à": "a", "ö": "o", "ä": "a", "ü": "u",
}  # fmt: skip
"""What stands for a character that the output's encoding lacks."""

STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
"""Control characters but the line feed, and those that turn the direction of writing."""


# --- Characters ---------------------------------------------------------------------------
def shown(text: str) -> str:
    r"""The text with what would steer a terminal written out: '\x1b' for an escape."""
    return STEERING.sub(lambda found: ascii(found.group())[1:-1], text)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(c, ascii(c)[1:-1]) for c in lacking), error.end


codecs.register_error("hyperpolicy.plain", _plain)


# --- Streams ------------------------------------------------------------------------------
class OutputLost(OSError):
    """Standard output cannot be written."""


class _Guarded:
    """A stream whose faults `guard` sees, a context that is entered for each write."""

    def __init__(self, stream, guard: Callable[[], AbstractContextManager]):
        self._stream, self._guard = stream, guard

    def write(self, text: str) -> int:
        with self._guard():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._guard():
            self._stream.flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextmanager
def _lost() -> Iterator[None]:
    """Faults of standard output, told from those of other files."""
    try:
        yield
    except OSError as error:
        raise OutputLost(error.errno, error.strerror) from error


@contextmanager
def adapted() -> Iterator[None]:
    """Within it, standard output raises OutputLost where it cannot be written, and both streams
    write what their encoding lacks in plain characters."""
    out = sys.stdout if sys.stdout is not None else open(os.devnull, "w")  # noqa: SIM115
    streams = [stream for stream in (out, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="hyperpolicy.plain")
    sys.stdout = _Guarded(out, _lost)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout = out
        for stream, errors in zip(streams, before, strict=True):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def give_up(stream) -> None:
    """Let what is still to be written vanish, so that the end of the program says nothing of it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def complain(text: str) -> None:
    """One line on standard error, if anybody can hear it; line feeds are written out."""
    try:
        print(shown(text).replace("\n", "\\n"), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        give_up(sys.stderr)


class Terminal(Console):
    """Standard output, or with `news` standard error, whose loss stops nothing.

    Brackets, colons and numbers in a text are only that, and no text steers the terminal. Lines are
    never broken; tables are as wide as the terminal, or COLUMNS, or `columns` in a file.
    """

    def __init__(self, news: bool = False, columns: int = FILE_COLUMNS):
        stream = _Guarded(sys.stderr, partial(suppress, OSError, ValueError)) if news else None
        super().__init__(file=stream, markup=False, emoji=False, highlight=False)  # type: ignore
        if not self.is_terminal and not os.environ.get("COLUMNS"):
            self.width = columns

    def print(self, *objects, **options) -> None:
        if all(isinstance(one, str) for one in objects):
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)

    def render(self, renderable, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            steers = segment.control is None and STEERING.search(segment.text)
            yield Segment(shown(segment.text), segment.style) if steers else segment


# --- Tables -------------------------------------------------------------------------------
class Sheet(Table):
    """A table that is written row below row where the terminal is too narrow for its words."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator:
        cells = [[_text(cell) for cell in column.cells] for column in self.columns]
        heads = [_text(column.header) for column in self.columns]
        if self._needs(heads, cells) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            yield _text(self.title)
        for first, *rest in zip(*cells, strict=True):
            yield first
            for head, cell in zip(heads[1:], rest, strict=True):
                if cell.plain:
                    label = Text(f"{head.plain}: " if head.plain else "")
                    yield Padding(label + cell, (0, 0, 0, 2))
        if self.caption:
            yield _text(self.caption)

    def _needs(self, heads: list[Text], cells: list[list[Text]]) -> int:
        """Columns that hold the longest word of each column, of those that never wrap its text."""
        widths = []
        for column, head, own in zip(self.columns, heads, cells, strict=True):
            words = head.plain.split()
            for cell in own:
                words += cell.plain.split("\n" if column.no_wrap else None)
            widths.append(max(map(cell_len, words), default=0))
        return sum(widths) + 3 * len(widths)


def _text(cell) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))
