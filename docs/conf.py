"""The documentation as a site: these pages by MyST, and the API from docstrings. `make docs` builds
it; warnings are errors. Docstrings are plain text, with equations and file layouts as indented
blocks; `plain` turns them into reStructuredText.
"""

import os
import re
import textwrap
from pathlib import Path
from typing import Annotated, get_args, get_origin

import sphinx.util.typing as sphinx_typing

os.environ.setdefault("JAX_PLATFORMS", "cpu")
HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "hyperpolicy"

project, author = "hyperpolicy", "hyperpolicy authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme, html_title = "furo", "hyperpolicy"
html_show_copyright = False
exclude_patterns = ["_build"]
myst_heading_anchors = 4
highlight_language = "text"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
suppress_warnings = ["myst.header"]  # pages begin their sections as reads best

PACKAGES = {
    "envs": "Families, contexts, worlds",
    "nets": "Networks",
    "data": "Episodes, demonstrations, prompts, replay",
    "rollout": "The loop that plays policies",
    "rl": "Learners",
    "fleet": "Training many at once",
    "zoo": "Experts' weights",
    "generate": "Generators",
    "baselines": "What generators are compared with",
    "evaluate": "Scores, tables, pictures",
    "imports": "Experts of other libraries",
    "export": "Policies without this package",
    "run": "Long jobs",
}
ALONE = ("policies", "errors", "seeds", "symmetry", "bounds", "files", "devices")
"""Modules of the ground floor that a user may call."""


def modules(package: str) -> list[str]:
    """The modules of a package, by name, those in folders last."""
    pages = sorted((SOURCE / package).rglob("*.py"), key=lambda p: (len(p.parts), str(p)))
    names = [page.relative_to(SOURCE.parent).with_suffix("").parts for page in pages]
    return [".".join(name) for name in names if name[-1] not in ("__init__", "__main__")]


def write_api(app) -> None:
    """A page a package, written anew for every build."""
    place = HERE / "api"
    place.mkdir(exist_ok=True)
    pages = {name: (title, modules(name)) for name, title in PACKAGES.items()}
    pages["ground"] = ("Policies, errors, seeds, files", [f"hyperpolicy.{name}" for name in ALONE])
    for name, (title, found) in pages.items():
        lines = [f"# {title}", ""]
        for module in found:
            short = module.removeprefix("hyperpolicy.")
            lines += [f"## {short}", "", "```{eval-rst}", f".. automodule:: {module}"]
            lines += ["   :members:", "```", ""]
        text = "\n".join(lines)
        page = place / f"{name}.md"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def outward(app, name: str, source: list[str]) -> None:
    """Links to files beside this folder become their text: the site holds the pages alone."""
    source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", source[0])


# --- Docstrings ---------------------------------------------------------------------------
SECTION = re.compile(r"(Raises|Warns):$")


def plain(app, what, name, obj, options, lines: list[str]) -> None:
    """A docstring as reStructuredText: text, indented blocks as they are, errors as a list."""
    found, block, section = list[str](), list[str](), ""
    for line in [*textwrap.dedent("\n".join(lines)).splitlines(), ""]:
        if block and (line.startswith("    ") or not line.strip()) and not section:
            block.append(line)
            continue
        if block:
            found += _literal(block)
            block = []
        if match := SECTION.match(line.strip()):
            section = match[1]
            found += ["", f"**{section}**", ""]
        elif section and line.strip():
            found += _error(line)
        elif line.startswith("  ") and line.strip():
            block = [line]
        else:
            section = "" if not line.strip() else section
            found.append(escaped(line))
    lines[:] = [*found, *(_literal(block) if block else []), ""]


def _literal(block: list[str]) -> list[str]:
    while block and not block[-1].strip():
        block.pop()
    return ["", ".. code-block:: text", "", *(f"   {line}" for line in block), ""]


def _error(line: str) -> list[str]:
    """A line of a section: a new error, or how the last one goes on."""
    text = line.strip()
    names, colon, said = text.partition(": ")
    if colon and re.fullmatch(r"[A-Z]\w+(, [A-Z]\w+)*", names):
        return [f"* ``{names}``: {escaped(said)}"]
    return [f"  {escaped(text)}"]


def escaped(text: str) -> str:
    """A line whose marks mean nothing, but for `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        f"``{part[1:-1]}``"
        if part.startswith("`") and len(part) > 2 and part.endswith("`")
        else re.sub(r"([\\*|_`])", r"\\\1", part)
        for part in parts
    )


def fields(app, what, name, obj, skip, options) -> bool | None:
    """Leave out what named tuples say of fields without a docstring."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field") else None


# --- Types --------------------------------------------------------------------------------
_as_text = sphinx_typing.stringify_annotation


def without_bounds(annotation, *args, **kwargs) -> str:
    """A type as text, without the bounds and help that stand beside it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return _as_text(annotation, *args, **kwargs)


sphinx_typing.stringify_annotation = without_bounds  # before autodoc is imported
BOUNDS = re.compile(r"Annotated\[([\w.]+(?:\[[^\[\]]*\])?)(?:, [\w.]+\([^()]*\))+\]")


def signature(app, what, name, obj, options, text, returned) -> tuple[str | None, str | None]:
    """A signature without bounds, as autodoc writes it for classes."""
    while text and (shorter := BOUNDS.sub(r"\1", text)) != text:
        text = shorter
    return text, returned


def setup(app) -> None:
    app.connect("autodoc-skip-member", fields)
    app.connect("autodoc-process-signature", signature)
    app.connect("builder-inited", write_api)
    app.connect("source-read", outward)
    app.connect("autodoc-process-docstring", plain)
