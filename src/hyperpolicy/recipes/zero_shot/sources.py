"""The zoos a table's cells are made from: where they lie, and what of them a split may see.

Kinds: `specialized` experts were fine-tuned from a base, `independent` ones trained alone from one
initialization, `shared-replay` ones too but with everybody's transitions; `aligned` are the
independent ones after permutation matching.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from hyperpolicy.envs import Split
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import Base
from hyperpolicy.generate import align
from hyperpolicy.generate.generator import Generator
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


@dataclass(frozen=True)
class Source:
    """One zoo of a cell: its training experts, its base if it was specialized from one."""

    path: Path
    train: Zoo
    base: Base | None

    def conditioned(self) -> Generator:
        """The base as a generator.

        Raises:
            BadZoo: these experts were not specialized from one.
        """
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
    sources = [source(path, split) for path in paths(zoos, kind, split.name)]
    if kind == "aligned":
        return [replace(s, train=align.align_chain(s.train)) for s in sources]
    return sources


def source(path: Path, split: Split) -> Source:
    """The training experts of `split` in the zoo at `path`, and its base where it has one."""
    base = path / "base.safetensors"
    train = Zoo.load(path).only(split.train)
    return Source(path, train, Base.load(base) if base.exists() else None)


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
