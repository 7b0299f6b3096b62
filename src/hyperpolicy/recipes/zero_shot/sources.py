"""The zoos a table's cells are made from: where they lie, and what of them a split may see.

Kinds: `specialized` experts were fine-tuned from a base, `independent` ones trained alone from one
initialization, `shared-replay` ones too but with everybody's transitions; `aligned` are the
independent ones after permutation matching.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Grid, Split, family
from hyperpolicy.errors import BadSetting, BadZoo, unknown
from hyperpolicy.evaluate import Published, published
from hyperpolicy.fleet import Base
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.weights import align
from hyperpolicy.generate.writers import conditioned
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

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

    A specialized zoo was made for one split; independent experts serve every split.

    Raises:
        BadZoo: there is none, or one misses a training expert.
        BadSetting: experts that share their replay, for another split than `full`.
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
