"""What a table's cells are made from, and how its methods are fitted there.

Kinds: `specialized` experts were fine-tuned from a base, `independent` ones trained alone from one
initialization, `shared-replay` ones too but with everybody's transitions; `aligned` are the
independent ones after permutation matching.

Where a cell has several zoos (replicas of the whole pipeline under other seeds, or the draws of a
random split), every method is fitted once on each; where it has one, methods that draw random
numbers are fitted with several seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Grid, Split, family
from hyperpolicy.errors import BadSetting, BadZoo, unknown
from hyperpolicy.evaluate import Published, published
from hyperpolicy.evaluate.protocol import TURNED
from hyperpolicy.evaluate.scoring import Maker, Row
from hyperpolicy.fleet import Base
from hyperpolicy.generate import align, codecs, fitting, symmetric
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.writers import conditioned
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.stage import make_once
from hyperpolicy.recipes.zero_shot.presets import Candidate, TableConfig
from hyperpolicy.zoo import Zoo

# --- Zoos ---------------------------------------------------------------------------------
WITHOUT_BASE = {
    "independent": "independent",
    "aligned": "independent",
    "shared-replay": "shared-replay",
}
"""Kinds whose zoos serve every split, except the shared replay's, and the zoos they are read
from."""
ALL_KINDS = ("specialized", *WITHOUT_BASE)


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Raise BadSetting, which suggests another, for a kind that is none."""
    for kind in kinds:
        if kind not in ALL_KINDS:
            raise unknown(BadSetting, "kind of zoos called", "Kinds", kind, ALL_KINDS)


@dataclass(frozen=True)
class Cell:
    """The split of a grid, on whose test contexts methods are scored, and the kind of experts they
    learn from."""

    family: str
    grid: str
    split: str
    """A split's name; `random-<k>` stands for its three draws."""
    kind: str = "specialized"

    @property
    def tasks(self) -> Grid:
        """The grid; UnknownFamily or UnknownGrid where there is none."""
        return family(self.family).grid(self.grid)

    @property
    def splits(self) -> list[Split]:
        """The splits it is about: one, or the draws of a random one, which test the same contexts;
        UnknownSplit where there is none."""
        name = self.split
        draws = name.startswith("random-") and name.count("-") == 1
        names = [f"{name}-{draw}" for draw in range(3)] if draws else [name]
        return [self.tasks.split(one) for one in names]

    @property
    def contexts(self) -> Float[np.ndarray, "k c"]:
        """Contexts on which methods are scored."""
        return self.splits[0].test

    @property
    def published(self) -> tuple[Published, ...]:
        """What others printed, beside the splits with all training tasks; on any grid, for the
        table keeps grids apart."""
        return published(self.family) if self.split == "full" else ()

    @property
    def file(self) -> str:
        """Its name in files."""
        return f"{self.kind}-{self.split}"


@dataclass(frozen=True)
class Source:
    """One zoo of a cell: its training experts, its base if it was specialized from one."""

    path: Path
    train: Zoo
    base: Base | None

    @classmethod
    def beside(cls, path: Path, train: Zoo) -> "Source":
        """Experts `train` of the zoo at `path`, and its base where it has one."""
        base = path / "base.safetensors"
        return cls(path, train, Base.load(base) if base.exists() else None)

    def conditioned(self) -> Generator:
        """The base as a generator; BadZoo where these experts were not specialized from one."""
        if self.base is None:
            raise BadZoo(f"{self.path} has no base.safetensors; its experts are independent")
        return conditioned.from_base(self.base)

    @property
    def env_steps(self) -> int:
        """Environment steps behind the training experts."""
        steps = len(self.train.contexts) * self.train.training.env_steps
        return steps + (self.base.training.env_steps if self.base else 0)


def find(zoos: tuple[Path, ...], kind: str, split: Split) -> list[Source]:
    """The training experts of `split` in every zoo of this kind; never a test expert.

    A specialized zoo was made for one split; independent experts serve every split. Raises BadZoo:
    there is none, or one misses a training expert; BadSetting: experts that share their replay, for
    another split than `full`.
    """
    if kind == "shared-replay" and split.name != "full":
        raise BadSetting(
            f"experts that share their replay learned from the training contexts of `full`, some "
            f"of which split {split.name!r} tests on; ask for the split full"
        )
    found = [(path, Zoo.load(path).only(split.train)) for path in paths(zoos, kind, split.name)]
    if kind == "aligned":
        found = [(path, align.align_chain(train)) for path, train in found]
    return [Source.beside(path, train) for path, train in found]


def experts_at(zoos: tuple[Path, ...], kind: str, split: Split) -> list[Policies]:
    """The test contexts' own experts, out of the zoos of the full grid; independent ones where the
    training experts share their replay, which takes nothing of test contexts."""
    kind = "independent" if kind == "shared-replay" else kind
    return [Zoo.load(p).only(split.test).finals for p in paths(zoos, kind, "full")]


def paths(zoos: tuple[Path, ...], kind: str, split: str) -> list[Path]:
    pattern = f"{WITHOUT_BASE[kind]}*" if kind in WITHOUT_BASE else f"{kind}-{split}*"
    for place in zoos:
        if found := sorted(p.parent for p in place.glob(f"{pattern}/zoo.json")):
            return found
    raise BadZoo(
        f"{' or '.join(map(str, zoos))} holds no {kind} zoo of split {split!r}; "
        "`hyperpolicy recipe zoos` makes them"
    )


# --- Rows ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Lent:
    """What the methods of a cell share."""

    config: TableConfig
    sources: Sequence[Source]
    out: Path
    """Where fits go."""

    @property
    def several(self) -> bool:
        """Whether every zoo is a pipeline of its own."""
        return len(self.sources) > 1

    def row(self, makers: Sequence[Maker], draws: int = 1) -> Row:
        """Fitted makers as a row to score; fits on one zoo are of one pipeline."""
        pipelines = range(len(makers)) if self.several else [0] * len(makers)
        return Row(makers, self.sources[0].env_steps, draws, pipelines=pipelines)

    def each(self, make: Callable[[Source], Maker]) -> Row:
        """The row of a method that draws nothing, with one maker a zoo."""
        return self.row([make(source) for source in self.sources])


def distill(lent: Lent) -> list[Generator]:
    """The context-conditioned policies distilled from experts: one a zoo, or a seed of the only
    one."""
    seeds = range(len(lent.sources)) if lent.several else lent.config.seeds
    config = lent.config.distill
    return [
        fit_once(lent.out / f"distilled-{n}", partial(fitting.fit, config, source.train, n))
        for n, source in zip(seeds, cycle(lent.sources), strict=False)
    ]


def turned(methods: dict[str, Row]) -> dict[str, Row]:
    """Every row a second time, told the robot's symmetries, where its family knows some."""
    found = {}
    for name, method in methods.items():
        makers = [m for m in method.makers if isinstance(m, Generator)]
        if makers and makers[0].family.symmetries:
            images = [symmetric.symmetric(maker) for maker in makers]
            found[f"{name}, {TURNED}"] = replace(method, makers=images)
    return found


# --- Fits ---------------------------------------------------------------------------------
def fit_learned(
    learned: Candidate, sources: Sequence[Source], seeds: tuple[int, ...], out: Path
) -> list[Generator]:
    """One fit on each zoo, or all `seeds` side by side on the only one; read back if they exist."""
    zoos = [source.train for source in sources]
    if learned.family is not None:
        zoos = [replace(zoo, family=family(learned.family)) for zoo in zoos]
    if len(zoos) > 1:
        return [
            fit_once(out / f"zoo-{i}", partial(fitting.fit, learned.config, zoo, i))
            for i, zoo in enumerate(zoos)
        ]
    done = sorted(out.glob("seed-*/config.json"))
    if done:  # a fit writes all seeds that lived at once
        return [load(path.parent) for path in done]
    return fitting.fit_seeds(learned.config, zoos[0], seeds, out)


def fit_once(out: Path, fit: Callable[[Path], object]) -> Generator:
    """The generator in `out`, fitted where there is none."""
    return load(make_once(out / "config.json", lambda: fit(out)).parent)


def decoded_row(cell: Cell, sources: Sequence[Source], oracles) -> Row | None:
    """The test experts through the encoder that was fitted on the training experts, where they
    descend from the same networks.

    A specialized zoo of a smaller split has another base than the oracles of `full`.
    """
    if cell.kind == "specialized" and cell.split != "full":
        return None
    pairs = zip(sources, cycle(oracles), strict=False)
    makers = [decoded(source.train, experts) for source, experts in pairs]
    return Row(makers, pipelines=range(len(makers)))


def decoded(train: Zoo, experts: Policies) -> Policies:
    """Experts through the principal components that were fitted on the training experts."""
    encoder = codecs.fit_pca(PcaConfig(), train.weights)
    weights = [encoder.decode(encoder.encode(row)) for row in experts.weights]
    return Policies(np.stack(weights), experts.spec)
