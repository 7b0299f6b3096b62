"""What a directory holds, as sections of a report: a run, a zoo, a generator, tuned policies, a
recipe's tables and pictures, and runs below it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperpolicy import files, generate
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadFile, HyperpolicyError
from hyperpolicy.evaluate import learning
from hyperpolicy.evaluate.tables import number
from hyperpolicy.generate import confidence
from hyperpolicy.generate.generator import HEADER, WEIGHTS, Generator
from hyperpolicy.headers import regular
from hyperpolicy.policies import Policies
from hyperpolicy.report import document, pictures
from hyperpolicy.report.document import Section
from hyperpolicy.run.job import METRICS, RUN, SNAPSHOT
from hyperpolicy.zoo import Zoo

DRAWN = ("curve.png", "losses.png")
"""Pictures that commands leave of what a report draws itself."""
MOST_RUNS = 60
"""Runs below a directory that are listed."""
FILMED = 2
"""Policies side by side in a film."""


class Report(NamedTuple):
    title: str
    lead: str
    sections: list[Section]


@dataclass(frozen=True)
class Found:
    """What lies in a directory; None and () where nothing does."""

    path: Path
    run: dict | None = None
    metrics: Path | None = None
    zoo: Zoo | None = None
    generator: Generator | None = None
    better: Policies | None = None
    """Policies that were fine-tuned."""
    pages: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    runs: tuple[Path, ...] = ()

    @property
    def family(self) -> Family | None:
        for one in (self.generator, self.zoo):
            if one is not None:
                return one.family
        return read_family(self.run["family"]) if self.run and "family" in self.run else None


def look(path: Path) -> Found:
    """What is in the directory `path`. Raises BadFile: nothing that a report could be about, or
    something damaged; the message says which."""
    if not path.is_dir():
        raise BadFile(f"{path} {'is no directory' if path.exists() else 'does not exist'}")
    if list(path.glob("*.json")) and not (path / RUN).is_file():
        hint = f"; for the results in it give {path}/*.json"
    else:
        hint = ""
    zoo = next((p for p in (path, path / "zoo") if (p / "zoo.json").is_file()), None)
    is_generator = (path / HEADER).is_file() and (path / WEIGHTS).is_file()
    better = path / "better.safetensors"
    found = Found(
        path,
        run=_settings(path / RUN) if (path / RUN).is_file() else None,
        metrics=path / METRICS if (path / METRICS).is_file() else None,
        zoo=None if zoo is None else Zoo.load(zoo),
        generator=generate.load(path) if is_generator else None,
        better=Policies.load(better) if better.is_file() else None,
        pages=tuple(sorted(path.glob("*.md"))),
        images=tuple(p for p in _media(path) if p.name not in DRAWN),
        runs=tuple(sorted(p.parent for p in path.rglob(RUN) if p.parent != path)),
    )
    made = (found.zoo, found.generator, found.better, *found.pages, *found.images, *found.runs)
    if found.metrics is None and all(one is None for one in made):
        if found.run is not None:
            raise BadFile(f"{path} holds a run without metrics; the first come after some updates")
        raise BadFile(
            f"{path} holds no run, zoo or generator{hint or '; give a directory with one'}"
        )
    return found


def _settings(path: Path) -> dict:
    record = files.load_json(regular(path))
    if not isinstance(record, dict):
        raise BadFile(f"{path} does not describe a run")
    return record


def _media(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix in document.KINDS and p.is_file())


def report(path: Path, zoo: Zoo | None = None, film: bool = True) -> Report:
    """The report of a directory; `zoo` is what its generator was fitted on, `film` says whether
    policies are filmed. Raises BadFile, BadZoo: as `look`."""
    found = look(path)
    zoo = zoo or found.zoo
    if zoo is not None and found.generator is not None and zoo.spec != found.generator.spec:
        zoo = None  # of experts of another architecture than it writes
    makers: list[tuple[str, Callable[[], list[str]]]] = [
        ("Result", lambda: _result(found)),
        ("Tables", lambda: list(map(_page, found.pages))),
        ("Curves", lambda: _curves(found)),
        ("How sure", lambda: _sure(found)),
        ("Weights", lambda: _weights(found, zoo)),
        ("Pictures", lambda: [document.figures(*map(_image, found.images))] * bool(found.images)),
        ("Video", lambda: _film(found) if film else []),
        ("Runs below", lambda: _runs(found)),
        ("Where it comes from", lambda: _origin(found)),
    ]
    sections = [Section(title, tuple(parts)) for title, make in makers if any(parts := make())]
    return Report(_title(found), _lead(found), sections)


def _page(path: Path) -> str:
    try:
        return document.markdown(regular(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, BadFile) as error:
        return document.paragraph(f"{path.name} cannot be read: {error}", note=True)


def _image(path: Path) -> str:
    about = path.stem.replace("-", " ").replace("_", " ")
    return (document.film if path.suffix == ".mp4" else document.picture)(path, about)


# --- What it is -----------------------------------------------------------------------------
def _title(found: Found) -> str:
    about = "" if found.family is None else f" of {found.family.name}"
    if found.generator is not None:
        return f"A generator{about}: {found.generator.kind}"
    if found.better is not None:
        return f"Fine-tuned policies{about}"
    if found.zoo is not None:
        return f"{len(found.zoo.contexts)} experts{about}"
    learner = (found.run or {}).get("learner")
    return f"{learner or found.path.name}: a run{about}" if found.run else found.path.name


def _lead(found: Found) -> str:
    parts = []
    if found.generator is not None:
        n = len(found.generator.trained_contexts)
        parts.append(f"Fitted on {n} contexts; it reads {found.generator.takes.name}.")
    elif found.zoo is not None:
        returns = found.zoo.returns[found.zoo.final_rows]
        known = returns[np.isfinite(returns)]
        mean = f"; mean return {number(float(known.mean()))}" if len(known) else ""
        parts.append(f"{len(found.zoo)} rows of {found.zoo.spec.size:,} numbers each{mean}.")
    if found.metrics is not None and (state := _progress(found.path)):
        parts.append(state)
    return " ".join(parts)


def _progress(path: Path) -> str:
    """How far a run is, in a sentence; '' where its metrics say nothing."""
    records = learning.records(path / METRICS) if (path / METRICS).is_file() else []
    if not records:
        return ""
    along, done = next(iter(records[-1].items()))
    text = f"{done:,} {along.replace('_', ' ')}" if isinstance(done, int) else ""
    if "seconds" in records[-1]:
        text += f" in {records[-1]['seconds'] / 60:.1f} minutes"
    going = "; not finished" if (path / SNAPSHOT).exists() else ""
    return f"{text}{going}." if text else ""


def _result(found: Found) -> list[str]:
    """Experts, generator and tuned policies in facts."""
    facts: dict[str, Any] = {}
    if found.zoo is not None:
        zoo = found.zoo
        returns = zoo.returns[zoo.final_rows]
        known = returns[np.isfinite(returns)]
        sizes = (zoo.spec.obs, *zoo.spec.hidden, zoo.spec.action)
        facts["policy"] = f"{' → '.join(map(str, sizes))}, {zoo.spec.size:,} numbers"
        facts["contexts"] = _range(zoo.family, zoo.contexts)
        if len(known):
            mean, low, high = (number(float(x)) for x in (known.mean(), known.min(), known.max()))
            facts["experts' return"] = f"mean {mean}, from {low} to {high}"
        if zoo.training.env_steps:
            facts["environment steps of an expert"] = f"{zoo.training.env_steps:,}"
    if found.generator is not None:
        one = found.generator
        facts["parts"] = " → ".join(
            part.kind for part in (one.model.reader, one.model.writer, one.model.codec)
        )
        facts["contexts of training"] = _range(one.family, one.trained_contexts)
        facts["numbers of a policy"] = f"{one.spec.size:,}"
    return [document.facts(facts)] if facts else []


def _range(family: Family, contexts) -> str:
    low, high = contexts.min(axis=0), contexts.max(axis=0)
    told = zip(family.context.names, low, high, family.context.units, strict=True)
    ends = [f"{name} {a:.4g} … {b:.4g} {unit}".strip() for name, a, b, unit in told]
    return f"{len(contexts)}: {', '.join(ends[:6])}{' …' if len(ends) > 6 else ''}"


# --- Pictures -----------------------------------------------------------------------------
def _curves(found: Found) -> list[str]:
    drawn = []
    if found.metrics is not None:
        drawn += [pictures.curves({"run": found.metrics}), pictures.measured(found.metrics)]
    if found.zoo is not None:
        drawn.append(pictures.experts(found.zoo))
    return [document.figures(*drawn)] if any(drawn) else []


def _sure(found: Found) -> list[str]:
    if found.generator is None:
        return []
    known = confidence.load(found.path, found.generator)
    if known is None:
        return []
    header = ["signal of doubt", "rank correlation", ""]
    rows = document.table(header, confidence.rows(known.header))
    return [rows, document.paragraph(f"{confidence.said(known.header).capitalize()}.", note=True)]


def _weights(found: Found, zoo: Zoo | None) -> list[str]:
    """Experts, and what the generator writes between them."""
    one = found.generator
    if one is None or one.takes is not Contexts or one.writes != "policies":
        if zoo is None:
            return []
        return [pictures.weights(zoo.family, (zoo.contexts, zoo.finals.weights))]
    at = pictures.between(one.family, one.trained_contexts)
    written = (at, one.generate(at).weights) if len(at) else None
    if zoo is None:
        trained = one.trained_contexts, one.generate(one.trained_contexts).weights
        return [pictures.weights(one.family, trained, written, "written, at training contexts")]
    return [pictures.weights(one.family, (zoo.contexts, zoo.finals.weights), written)]


def _film(found: Found) -> list[str]:
    """The lowest and the highest training context, or the first tasks, played."""
    one = found.generator
    if one is not None and one.takes is Contexts and one.writes == "policies":
        contexts = _ends(one.trained_contexts)
        return [pictures.film(one.generate(contexts), one.family, contexts)]
    if one is None and found.zoo is not None and not _filmed(found):
        contexts = _ends(found.zoo.contexts)
        return [pictures.film(found.zoo.only(contexts).finals, found.zoo.family, contexts)]
    return []


def _filmed(found: Found) -> bool:
    return any(path.suffix == ".mp4" for path in found.images)


def _ends(contexts):
    order = np.lexsort(contexts.T[::-1])
    rows = np.unique(np.linspace(0, len(order) - 1, FILMED).round().astype(int))
    return contexts[order[rows]]


# --- Below and before -----------------------------------------------------------------------
def _runs(found: Found) -> list[str]:
    rows = []
    for path in found.runs[:MOST_RUNS]:
        rows.append([str(path.relative_to(found.path)), _progress(path) or "no metrics yet"])
    more = len(found.runs) - MOST_RUNS
    parts = [document.table(["directory", "so far"], rows)] if rows else []
    return parts + ([document.paragraph(f"And {more} more.", note=True)] if more > 0 else [])


def _origin(found: Found) -> list[str]:
    """Settings and provenance."""
    parts = []
    if found.run:
        parts.append(document.folded("Settings of the run", document.facts(found.run)))
    for name, one in (("generator", found.generator), ("zoo", found.zoo)):
        if one is not None and one.provenance:
            facts = document.facts(one.provenance)
            parts.append(document.folded(f"Provenance of the {name}", facts))
    minutes = found.path / "minutes.json"
    if minutes.is_file():
        try:
            record = files.load_json(regular(minutes))
            parts.append(document.folded("Minutes", document.facts(record)))
        except (HyperpolicyError, AttributeError):
            pass
    return parts
