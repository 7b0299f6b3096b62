"""What the documents say is so: Python runs, commands parse, links lead somewhere.

Each page is one script, its blocks in order, in a directory that holds the repository's `zoos`.
A line before a block says what is special about it: `<!-- slow -->` (the slow tests run it) or
`<!-- needs NAME -->` (left out where that package is missing). A fence with
`file=NAME` is a file that lies there for the others.
"""

import ast
import builtins
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

import pytest

from hyperpolicy import cli
from hyperpolicy.errors import HyperpolicyError
from hyperpolicy.evaluate import foreign  # noqa: F401, it has an error of its own

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
names = [str(page.relative_to(ROOT)) for page in PAGES]

BLOCK = re.compile(r"((?:<!-- .*? -->\n)*)```python(?: file=(\S+))?\n(.*?)```", re.DOTALL)
IMPORT = re.compile(r"--import \S+")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^\s*(?:\$ )?hyperpolicy (.*?)(?:\s#.*)?$", re.MULTILINE)
WORSE = "the policy tuned at"
"""The one warning that a page may give: `tune` names policies that got worse."""
SHELLS = {"", "sh", "bash", "shell", "console"}


class Block(NamedTuple):
    text: str
    slow: bool
    needs: list[str]
    file: str


def blocks(page: Path) -> list[Block]:
    """The page's Python, in order."""
    return [
        Block(text, "<!-- slow -->" in marks, re.findall(r"<!-- needs (\w+) -->", marks), file)
        for marks, file, text in BLOCK.findall(page.read_text())
    ]


def script(page: Path, slow: bool) -> str:
    """The page as a script; of a page with slow blocks all of them, or those before the first."""
    found = []
    for block in blocks(page):
        if block.slow and not slow:
            break  # what comes after goes on from it
        if all(map(find_spec, block.needs)) and not block.file:
            found.append(block.text)
    return "\n".join(found)


def run(page: Path, slow: bool, place: Path) -> None:
    """Run the page as a program of its own, where a clone's `zoos` and the page's files are."""
    (place / "zoos").symlink_to(ROOT / "zoos")
    for block in blocks(page):
        if block.file:
            (place / block.file).write_text(block.text)
    text = script(page, slow)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", f"default:{WORSE}", "-c", text],
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr


FAST = [page for page in PAGES if script(page, slow=False)]
SLOW = [page for page in PAGES if any(block.slow for block in blocks(page))]


def test_pages_with_python_are_found():
    """A rule above that finds nothing would let every page pass."""
    assert ROOT / "README.md" in FAST
    assert len(FAST) >= 8 and len(SLOW) >= 6
    assert sum(len(blocks(page)) for page in PAGES) == sum(
        len(re.findall("^```python", page.read_text(), re.MULTILINE)) for page in PAGES
    )


@pytest.mark.parametrize("page", FAST, ids=lambda page: page.name)
def test_python_runs(page, tmp_path):
    run(page, False, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.name)
def test_slow_python_runs(page, tmp_path):
    run(page, True, tmp_path)


@pytest.mark.parametrize("page", sorted({*FAST, *SLOW}), ids=lambda page: page.name)
def test_python_defines_every_name_it_uses(page):
    """Also in slow blocks, which the fast tests do not run."""
    known = set(dir(builtins))
    for block in blocks(page):
        tree = ast.parse(block.text)
        used = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        bound = {n.id for n in used if isinstance(n.ctx, ast.Store)}
        bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
                bound.add(node.name)
        known |= bound
        missing = {n.id for n in used} - known
        known -= bound if block.file else set()
        assert not missing, f"{sorted(missing)} in\n{block.text}"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def commands(text: str) -> list[str]:
    """What follows `hyperpolicy` in indented lines and in fences that are no other language."""
    text = text.replace("\\\n", "")
    fenced = [inside for language, inside in FENCE.findall(text) if language in SHELLS]
    indented = INDENTED.findall(FENCE.sub("", text))
    return [line for part in [*fenced, *indented] for line in COMMAND.findall(part)]


def test_commands_are_found_in_every_kind_of_block():
    text = (
        "    hyperpolicy one  # why\n\n```sh\n$ hyperpolicy two --a \\\n  b\n```\n"
        "```\nhyperpolicy three\n```\n```python\nhyperpolicy four\n```\nhyperpolicy five is text\n"
    )
    assert sorted(commands(text)) == ["one ", "three", "two --a   b"]


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_parse(page, capsys):
    for line in commands(page.read_text()):
        try:
            cli.parse(shlex.split(IMPORT.sub("", line)))
        except SystemExit:
            pytest.fail(f"hyperpolicy {line}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_make_targets_exist(page):
    targets = re.findall(r"^\w+(?=:)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^    make (\w+)", page.read_text(), re.MULTILINE)) <= set(targets)


# --- The site -----------------------------------------------------------------------------
def conf():
    spec = spec_from_file_location("conf", ROOT / "docs" / "conf.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_become_what_sphinx_reads():
    lines = [
        "A sum, `x` * y_ of |n|, with the equation",
        "",
        "    y = a * b",
        "",
        "and more.",
        "",
        "Raises:",
        "    BadShape: axes that do not",
        "        fit.",
        "    BadFile, DiskFull: it cannot be written.",
    ]
    conf().plain(None, "function", "f", None, None, lines)
    assert "\n".join(line for line in lines if line) == (
        "A sum, ``x`` \\* y\\_ of \\|n\\|, with the equation\n.. code-block:: text\n"
        "       y = a * b\nand more.\n**Raises**\n* ``BadShape``: axes that do not\n  fit.\n"
        "* ``BadFile, DiskFull``: it cannot be written."
    )


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text().splitlines()
    pages = {page.stem for page in ROOT.glob("docs/*.md")} - {"index"}
    assert sorted(pages - set(index)) == []


def test_every_error_has_a_line():
    text = (ROOT / "docs" / "errors.md").read_text()
    found = {c for c in all_errors(HyperpolicyError) if c.__module__.startswith("hyperpolicy")}
    assert [c.__name__ for c in found if f"`{c.__name__}`" not in text] == []


def all_errors(kind: type) -> list[type]:
    below = kind.__subclasses__()
    return below + [c for one in below for c in all_errors(one)]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, ROOT / "docs", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "def generate" not in (api := (tmp_path / "api/generate.html").read_text())
    assert "Generator.generate" in api and "msgspec.Meta" not in api


CELL = re.compile(r"(\*\*)?([−\d.]+)(?:\*\*)?(?: \[([−\d.]+), ([−\d.]+)\])?")
TRIVIAL = ("nearest training expert", "interpolated neighbors", "context-conditioned policy")
TRIVIAL += ("regression of weights",)


def cells(line: str) -> list[tuple[bool, float, float] | None]:
    """Whether each cell of a line is bold, and its interval; the number where it has none."""
    found: list[tuple[bool, float, float] | None] = []
    for text in line.strip().strip("|").split("|")[1:]:
        match = CELL.match(text.strip())
        try:
            mean, low, high = (float((x or "nan").replace("−", "-")) for x in match.groups()[1:])
            found.append(
                (bool(match[1]), mean if low != low else low, mean if high != high else high)
            )
        except (AttributeError, ValueError):
            found.append(None)
    return found


def boasts(text: str) -> list[str]:
    """Lines with a bold number that a trivial row of the same table is not clearly below."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = table.splitlines()
        trivial = [cells(x) for x in lines if any(name in x.split("|")[1] for name in TRIVIAL)]
        for line in lines:
            for column, cell in enumerate(cells(line)):
                others = [row[column] for row in trivial if column < len(row)]
                if cell and cell[0] and any(other and other[2] >= cell[1] for other in others):
                    found.append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_bold_is_ahead_of_every_trivial_row(page):
    """Returns and success: more is better."""
    assert not boasts(page.read_text())


def test_a_bold_number_within_a_trivial_row_is_found():
    table = (
        "| | a |\n|---|---|\n| nearest training expert | −28.5 [−29.4, −27.8] |\n| ours | {} |\n"
    )
    assert not boasts(table.format("**−20** [−22, −18]"))
    assert not boasts(table.format("−28.0 [−28.2, −27.7]"))
    assert len(boasts(table.format("**−27** [−28.2, −26]"))) == 1
    assert len(boasts(table.format("**−28.1**"))) == 1


def test_nothing_cites_pages_that_are_not_in_the_repository():
    texts = [*PAGES, *ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")]
    citing = [p.name for p in texts if re.search(r"design[ ](§|\.md)", p.read_text())]
    assert not citing
