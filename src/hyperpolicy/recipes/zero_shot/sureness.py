"""What generators know of how good their policies are, on training contexts that are held out.

    folds    each fifth of the training contexts, told the other four fifths
    few      the other four fifths, told each fifth: contexts lie far from training

For each kind of generator: how well each signal of doubt orders the shortfall, what critics know of
draws, and, where a signal is trusted in `folds`, on how many test contexts the shortfall stays
below its bound (nine of ten were promised).

    OUT/<zoo>/<kind>/few-<i>.json      one fit on a fifth
    OUT/<zoo>/<kind>/generator         a fit on all, with its confidence.json
    OUT/<zoo>/<kind>/test.json         the test contexts
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Place, Weight
from hyperpolicy.errors import BadZoo, OutOfTime
from hyperpolicy.evaluate.protocol import usual_episodes
from hyperpolicy.evaluate.tables import markdown
from hyperpolicy.generate import confidence, fitting
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate.confidence import Held
from hyperpolicy.generate.fitting import FitConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.generate.writers.residual import ResidualConfig
from hyperpolicy.headers import ConfidenceHeader
from hyperpolicy.recipes.stage import record_once, slug
from hyperpolicy.rollout import returns
from hyperpolicy.zoo import Zoo

FOLDS = 5
KINDS: dict[str, Callable[[], FitConfig]] = {
    "base + interpolated change": ResidualConfig,
    "regression of weights": RegressionConfig,
    "HypLatent": partial(HypLatentConfig, steps=600, keep_discriminator=True),
}


@dataclass(frozen=True)
class SurenessConfig(Bounded):
    """Whose doubts are compared with what their policies return."""

    zoos: tuple[Path, ...] = (
        Path("zoos/cheetah-vel/specialized-full"),
        Path("zoos/ant-dir/specialized-full"),
    )
    """Zoos with their bases; the experts of the grid's split `full` are used."""
    out: Place = Path("runs/confidence")
    """Fits and returns; the same command goes on from what is there."""
    minutes: Weight = 10_000.0
    """After which no new part is begun."""
    episodes: Count | None = None
    """Episodes of each policy; 100 on Ant-Dir, 10 elsewhere."""
    kinds: Suppress[dict[str, Callable[[], FitConfig]]] = field(default_factory=lambda: dict(KINDS))


class Cell(NamedTuple):
    """What was measured for a kind of generator on a zoo."""

    zoo: str
    kind: str
    folds: ConfidenceHeader
    few: ConfidenceHeader
    test: list[list[float]] | None
    """Expected shortfall, bound and shortfall of each test context; None where no signal is
    trusted."""


def run(config: SurenessConfig) -> tuple[list[Cell], list[str]]:
    """What was measured, and the cells that time did not suffice for."""
    until = time.monotonic() + 60.0 * config.minutes
    done, late = [], []
    for path in config.zoos:
        if not path.is_dir():
            raise BadZoo(f"no zoo at {path} (--zoos); run in a clone of the repository")
        zoo = Zoo.load(path)
        split = zoo.family.grid().split("full")
        for kind, make in config.kinds.items():
            name = f"{zoo.family.name}, {kind}"
            place = config.out / f"{zoo.family.name}-{path.name}" / slug(kind).replace("+", "and")
            try:
                done.append(_cell(config, zoo, path, split, kind, make(), place, until))
            except OutOfTime:
                late.append(name)
    return done, late


def _cell(config, zoo: Zoo, path: Path, split, kind: str, make: FitConfig, place, until) -> Cell:
    """One cell; raises OutOfTime between its parts."""

    def in_time(part: Path, what: Callable):
        if not part.exists() and time.monotonic() >= until:
            raise OutOfTime("")
        return record_once(part, what)

    fits, train = make.beside(path), zoo.only(split.train)
    episodes = usual_episodes(zoo.family) if config.episodes is None else config.episodes
    n, some = len(split.train), []
    for i, fold in enumerate(confidence.folds_of(n, FOLDS)):
        rest = np.setdiff1d(np.arange(n), fold)
        out = place / f"few-{i}"
        own = partial(confidence.held_out, fits, train, fold, rest, episodes, out=out)
        record = in_time(place / f"few-{i}.json", lambda own=own: own().record())
        some.append(Held.read(record))
    few = confidence.header_of(Held.joined(some), FOLDS, episodes, "0" * 64)
    where = place / "generator"
    if not (where / generators.HEADER).exists():
        fitting.fit(fits, train, out=where)
    if not (where / confidence.HEADER).exists():
        if time.monotonic() >= until:
            raise OutOfTime("")
        confidence.calibrate(fits, train, where, FOLDS, config.episodes)
    generator = generators.load(where)
    known = confidence.load(where, generator)
    test = in_time(
        place / "test.json", partial(_tested, zoo, generator, known, split.test, episodes)
    )
    return Cell(zoo.family.name, kind, known.header, few, test)  # type: ignore[union-attr]


def _tested(zoo: Zoo, generator, known, contexts, episodes: int) -> list[list[float]] | None:
    """Expected shortfall, bound and shortfall of each test context, [k, 3]."""
    found = known.of(generator, contexts)
    if found is None:
        return None
    own = zoo.only(contexts).finals
    earned = [
        returns(p, zoo.family, contexts, episodes, 30).mean(axis=1)
        for p in (own, generator.generate(contexts))
    ]
    return np.stack([found.expected, found.bound, earned[0] - earned[1]], axis=1).tolist()


# --- The page -----------------------------------------------------------------------------
def page(done: list[Cell], late: list[str]) -> str:
    """All correlations as one Markdown page."""
    lines = []
    for cell in done:
        for where, found in (("folds", cell.folds), ("few", cell.few)):
            known = {
                one.name: _interval(one.correlation, one.low, one.high) for one in found.signals
            }
            signals = [known.get(name, "–") for name in NAMES]
            short = f"{np.mean(found.shortfall):.1f}"
            about = [cell.zoo, cell.kind, where, str(len(found.contexts)), short]
            lines.append([*about, *signals, found.chosen or "none"])
    header = ["family", "kind", "held out", "contexts", "shortfall", *NAMES, "shown"]
    parts = [markdown(header, lines) + "\n"]
    ranks = [
        [cell.zoo, cell.kind, where, *_ranking(found.ranking)]
        for cell in done
        for where, found in (("folds", cell.folds), ("few", cell.few))
        if found.ranking is not None
    ]
    if ranks:
        header = ["family", "kind", "held out", "rank correlation", "preferred draw", "best draw"]
        parts.append("Critics among eight draws; returns over the draws' mean:\n")
        parts.append(markdown(header, ranks) + "\n")
    for cell in done:
        if cell.test is not None:
            below = sum(short <= bound for _, bound, short in cell.test)
            parts.append(
                f"{cell.zoo}, {cell.kind}: {below} of {len(cell.test)} test contexts stay below "
                f"the bound of {cell.folds.chosen}.\n"
            )
    if late:
        parts.append("Not done: " + "; ".join(late) + "\n")
    return "\n".join(parts)


NAMES = ("distance", "disagreement", "draws", "lost value", "disbelief")


def _interval(x: float, low: float, high: float, digits: int = 2) -> str:
    return f"{x:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ranking(found) -> list[str]:
    return [
        _interval(found.correlation, found.correlation_low, found.correlation_high),
        _interval(found.gain, found.gain_low, found.gain_high, 1),
        _interval(found.best, found.best_low, found.best_high, 1),
    ]
