"""The command that scores policies beside trivial and published rows."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import Count, Names, Seed
from hyperpolicy.cli.command import Command, refuse
from hyperpolicy.cli.paths import NewFile
from hyperpolicy.cli.sources import maker_of, open_zoo, zoo_path
from hyperpolicy.errors import BadZoo


@dataclass(frozen=True)
class Score(Command):
    """Score sources of policies on a split's test contexts, beside trivial and published rows.

    Rows out of the zoo (nearest expert, interpolated neighbors, the test contexts' own experts) are
    there if the zoo has these experts.
    """

    family: Positional[str]
    """Task family, e.g. cheetah-vel."""
    policy: Names = ("generator",)
    """Sources as in `play`: generator, or paths of generators and zoos."""
    grid: str = "macaw"
    """Grid of contexts."""
    split: str = "full"
    """Split of the grid; its test contexts are scored."""
    zoo: Path | None = None
    """Zoo of the trivial rows; zoos/<family>/specialized-<split> by default."""
    episodes: Count = 10
    """Episodes of each policy on each context."""
    draws: Count = 1
    """Noise draws of a generator on each context."""
    seed: Seed = 0
    """Of the episodes."""
    out: NewFile | None = None
    """Write all returns here, as JSON."""

    def run(self, console: Console) -> None:
        from hyperpolicy.envs import family
        from hyperpolicy.evaluate import Method, compare, published, standard_rows

        fam = family(self.family)
        split = fam.grid(self.grid).split(self.split)
        refuse(self.out)
        makers = {name: self._maker(fam, split, name) for name in self.policy}
        methods = {name: Method([maker], draws=self.draws) for name, maker in makers.items()}
        trivial = self._zoo_rows(fam, split)
        scores = standard_rows(
            fam, split.test, methods, **trivial, episodes=self.episodes, seed=self.seed
        )
        others = published(fam.name, self.grid) if self.split == "full" else ()
        comparison = compare(scores, others)
        where = f"{fam.name}, grid {self.grid}, split {self.split}"
        what = f"return on {len(split.test)} test contexts, {self.episodes} episodes each"
        console.print(comparison.rich(f"{where}: {what}"))
        if self.out is not None:
            comparison.save(self.out)
            print(f"all returns: {self.out}")

    def _maker(self, fam, split, name: str):
        """The maker of a row; one that trained on a test context is refused.

        Raises:
            BadZoo: its training contexts meet the split's test contexts.
        """
        from hyperpolicy.generate import interpolate

        if name == "expert":
            path = zoo_path(fam, self.zoo, self.split)
            return interpolate.nearest(open_zoo(fam, path).only(split.train))
        maker = maker_of(fam, name, self.zoo)
        trained = getattr(maker, "trained_contexts", split.test[:0])
        if len(trained) and fam.context.distance(split.test, trained).min() < 1e-6:
            raise BadZoo(
                f"{name} was trained on test contexts of split {self.split!r}; score it on a split "
                "that held its test contexts out, or fit one on this split"
            )
        return maker

    def _zoo_rows(self, fam, split) -> dict:
        from hyperpolicy.evaluate import Method
        from hyperpolicy.fleet import Base
        from hyperpolicy.generate import conditioned, interpolate

        try:
            path = zoo_path(fam, self.zoo, self.split)
            train = open_zoo(fam, path).only(split.train)
            oracles = open_zoo(fam, zoo_path(fam, self.zoo)).only(split.test)
        except BadZoo as error:
            if self.zoo is not None:
                raise
            print(f"without rows of experts: {error}")
            return {}
        steps = len(train.contexts) * train.provenance.get("env_steps_per_expert", 0)
        rows = {"oracle": Method([oracles.finals])}
        if (path / "base.safetensors").exists():
            base = Base.load(path / "base.safetensors")
            spent = base.provenance["env_steps"]
            rows["conditioned"] = Method([conditioned.from_base(base)], spent)
            steps += spent
        rows["nearest"] = Method([interpolate.nearest(train)], steps or None)
        rows["interpolated"] = Method([interpolate.linear(train)], steps or None)
        return rows
