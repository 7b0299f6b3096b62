"""What the documents say is so: Python runs, commands parse, links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hyperpolicy import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
RUN = [ROOT / "README.md", ROOT / "docs/tour.md"]
names = [str(page.relative_to(ROOT)) for page in PAGES]

BLOCK = re.compile(r"(<!-- slow -->\n)?```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^\s+(?:\$ )?hyperpolicy (.*?)(?:\s#.*)?$", re.MULTILINE)


def code(page: Path, slow: bool) -> str:
    """The page's Python, in order; blocks marked slow only if asked for."""
    return "\n".join(text for mark, text in BLOCK.findall(page.read_text()) if slow or not mark)


def run(text: str, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], cwd=place, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_python_runs(page, tmp_path):
    text = code(page, slow=False)
    assert "import hyperpolicy" in text
    run(text, tmp_path)


@pytest.mark.slow
def test_slow_python_runs(tmp_path):
    run(code(ROOT / "docs/tour.md", slow=True), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_parse(page, capsys):
    for line in COMMAND.findall(page.read_text().replace("\\\n", "")):
        try:
            cli.parse(shlex.split(line))
        except SystemExit:
            pytest.fail(f"hyperpolicy {line}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_make_targets_exist(page):
    targets = re.findall(r"^\w+(?=:)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^    make (\w+)", page.read_text(), re.MULTILINE)) <= set(targets)
