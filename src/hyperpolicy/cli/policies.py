"""Commands that make policies and run them: play, generate, score."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.cli.command import Command, refuse, table
from hyperpolicy.cli.sources import contexts_of, maker_of, scripts_of, tasks_of, told, zoo_path
from hyperpolicy.errors import BadZoo


@dataclass(frozen=True)
class Play(Command):
    """Run policies for one episode; print what they did, and record a video if asked."""

    family: Positional[str]
    """Task family, e.g. cheetah-vel; with named tasks, metaworld:window-open."""
    context: tuple[float, ...] = ()
    """One or more contexts, e.g. target speeds in m/s; they play side by side."""
    policy: str = "generator"
    """zero, random, scripted (on Meta-World), expert (the zoo's nearest), generator (the shipped
    one), or the path of a generator, a zoo or a file of policies."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: the first one of each task."""
    video: Path | None = None
    """Write an mp4 here; needs a rendering back end."""
    zoo: Path | None = None
    """Where `expert` is looked up; zoos/<family>/specialized-full by default."""
    every: int = 4
    """One frame of the video for so many steps."""
    seed: int = 0
    """Of the initial state, and of the generator's noise."""

    def run(self, console: Console) -> None:
        from hyperpolicy.rollout import trace

        fam, contexts = tasks_of(self.family, self.context)
        refuse(self.video)
        if self.policy == "scripted":
            actor = scripts_of(fam, contexts)
        else:
            actor = maker_of(fam, self.policy, self.zoo)
        if hasattr(actor, "generate"):
            actor = actor.generate(told(actor, contexts, self.demo), seed=self.seed)
        if self.policy == "expert":
            print(self._nearest(fam, contexts))
        found = trace(actor, fam, contexts, seed=self.seed)
        console.print(_outcomes(fam, contexts, found))
        if self.video is not None:
            from hyperpolicy.evaluate.video import record

            titles = [self.policy] * len(contexts)
            record(actor, fam, contexts, self.video, titles, every=self.every, seed=self.seed)
            print(f"video: {self.video}")

    def _nearest(self, fam, contexts) -> str:
        from hyperpolicy.zoo import Zoo

        path = zoo_path(fam, self.zoo)
        known = Zoo.load(path).contexts
        chosen = known[fam.context.distance(contexts, known).argmin(axis=1)]
        names = ", ".join(fam.task_name(context) for context in chosen)
        return f"nearest experts of {path}: {names}"


@dataclass(frozen=True)
class Generate(Command):
    """Write policies for contexts nobody trained on, or for demonstrations, into one safetensors
    file."""

    generator: Positional[str]
    """A shipped generator's name, or a generator's directory."""
    out: Path
    """The file to write, e.g. policies.safetensors."""
    context: tuple[float, ...] = ()
    """One or more contexts."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: one policy for each."""
    seed: int = 0
    """Of the generator's noise."""

    def run(self, console: Console) -> None:
        from hyperpolicy.envs import family
        from hyperpolicy.generate import load

        refuse(self.out)
        generator = load(self.generator)
        fam = family(generator.family)
        if generator.takes_demonstrations:
            given = told(generator, None, self.demo)
            names = ", ".join(dict.fromkeys(fam.task_name(c) for c in given.contexts))
        else:
            given = contexts_of(fam, self.context)
            names = ", ".join(fam.task_name(context) for context in given)
        policies = generator.generate(given, seed=self.seed)
        policies.save(self.out)
        sizes = f"{len(policies)} × {policies.spec.size:,} numbers"
        print(f"{self.out}: {sizes}, {fam.name} at {names}")


@dataclass(frozen=True)
class Score(Command):
    """Score sources of policies on a split's test contexts, beside trivial and published rows.

    Rows out of the zoo (nearest expert, interpolated neighbors, the test contexts' own experts) are
    there if the zoo has these experts.
    """

    family: Positional[str]
    """Task family, e.g. cheetah-vel."""
    policy: tuple[str, ...] = ("generator",)
    """Sources as in `play`: generator, or paths of generators and zoos."""
    grid: str = "macaw"
    """Grid of contexts."""
    split: str = "full"
    """Split of the grid; its test contexts are scored."""
    zoo: Path | None = None
    """Zoo of the trivial rows; zoos/<family>/specialized-<split> by default."""
    episodes: int = 10
    """Episodes of each policy on each context."""
    draws: int = 1
    """Noise draws of a generator on each context."""
    seed: int = 0
    """Of the episodes."""
    out: Path | None = None
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
        from hyperpolicy.zoo import Zoo

        if name == "expert":
            path = zoo_path(fam, self.zoo, self.split)
            return interpolate.nearest(Zoo.load(path).only(split.train))
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
        from hyperpolicy.zoo import Zoo

        try:
            path = zoo_path(fam, self.zoo, self.split)
            train = Zoo.load(path).only(split.train)
            oracles = Zoo.load(zoo_path(fam, self.zoo)).only(split.test)
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


def _outcomes(fam, contexts, found):
    """A table of what the policies did in their episode."""
    rows = []
    for i, context in enumerate(contexts):
        steps = int(found.alive[i, 0].sum())
        mean = found.outcome[i, 0, steps // 2 : steps].mean(axis=0)
        actual = fam.outcome_name(mean)
        success = fam.success(found.outcome[i, 0, :steps])
        if success is not None:
            first = f"after {int(success.argmax()) + 1} steps" if success.any() else "never"
            actual = f"{actual}; first success {first}"
        rows.append([fam.task_name(context), f"{found.returns[i, 0]:.1f}", str(steps), actual])
    return table(["target", "return", "steps", "over the second half"], rows)
