"""The commands that write policies into a file, and run policies for one episode."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import Count, Seed, unused
from hyperpolicy.cli.command import (
    Command,
    NewFile,
    contexts_of,
    given_to,
    maker_of,
    open_zoo,
    reads_demonstrations,
    refuse,
    scripts_of,
    table,
    tasks_of,
    zoo_path,
)
from hyperpolicy.errors import BadContext, BadSetting
from hyperpolicy.run.progress import Announced


@dataclass(frozen=True)
class Generate(Command):
    """Write policies for contexts nobody trained on, or for demonstrations, into one safetensors
    file."""

    generator: Positional[str]
    """A shipped generator's name, or a generator's directory."""
    out: NewFile
    """The file to write, e.g. policies.safetensors."""
    context: tuple[float, ...] = ()
    """One or more contexts, for a generator that reads contexts."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: one policy for each."""
    seed: Seed = 0
    """Of the generator's noise."""
    draws: Count = 1
    """Policies drawn for each context, of which the neighboring experts' critics choose one; needs
    --zoo, and a generator that was fitted with --folds and whose critics proved themselves."""
    zoo: Path | None = None
    """The zoo the generator was fitted on, for --draws."""
    anyhow: bool = False
    """Let critics choose even where nothing says that they can, and show every signal of doubt."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate import confidence, load

        refuse(self.out)
        generator = load(self.generator)
        known = confidence.load(self.generator, generator)
        fam = generator.family
        if reads_demonstrations(generator):
            if self.context:
                raise BadContext(
                    "this generator reads demonstrations, no contexts: leave --context out"
                )
            given = given_to(generator, None, self.demo)
            names = ", ".join(dict.fromkeys(fam.task_name(c) for c in given.contexts))
        else:
            given = given_to(generator, contexts_of(fam, self.context), self.demo)
            names = ", ".join(fam.task_name(context) for context in given)
        policies = self._write(generator, given, known)
        policies.save(self.out)
        sizes = f"{len(policies)} × {policies.spec.size:,} numbers"
        console.print(f"{self.out}: {sizes}, {fam.name} at {names}")
        if known is not None:
            self._doubt(console, known, generator, given)

    def _write(self, generator, given, known):
        """The policies; of several draws the one that critics prefer."""
        from hyperpolicy.generate import confidence
        from hyperpolicy.zoo import Zoo

        if self.draws == 1:
            unused(self, ["zoo"], "without --draws")
            return generator.generate(given, seed=self.seed)
        if self.zoo is None or reads_demonstrations(generator):
            raise BadSetting(
                f"--draws {self.draws} needs --zoo and a generator that reads contexts"
            )
        ranking = known and known.header.ranking
        if not self.anyhow and not (ranking and ranking.trusted):
            found = (
                "was not measured (fit --folds)" if not ranking else f"{ranking.correlation:.2f}"
            )
            raise BadSetting(
                f"the rank correlation of critics' values and returns {found}; from 0.3 on critics "
                "choose among draws. --anyhow lets them"
            )
        return confidence.preferred(generator, Zoo.load(self.zoo), given, self.draws, self.seed)

    def _doubt(self, console: Console, known, generator, given) -> None:
        """Print how sure each policy is."""
        if known.header.chosen is None and not self.anyhow:
            console.print(
                "how sure: unknown, no signal of doubt proved itself (docs/confidence.md)"
            )
            return
        names = [one.name for one in known.header.signals] if self.anyhow else [None]
        for name in names:
            try:
                found = known.of(generator, given, self.seed, name)
            except BadSetting as error:
                console.print(str(error))
                continue
            rows = [
                (generator.family.task_name(c), *map("{:.2f}".format, one))
                for c, *one in zip(given, *found, strict=True)
            ]
            what = name or known.header.chosen
            header = ["task", what, "less than its own expert, expected", "nine of ten below"]
            console.print(table(header, rows))


@dataclass(frozen=True)
class Play(Command):
    """Run policies for one episode; print what they did, and record a video if asked."""

    family: Positional[str]
    """Task family, e.g. cheetah-vel; with named tasks, metaworld:window-open."""
    context: tuple[float, ...] = ()
    """One or more contexts, e.g. target speeds in m/s; they play side by side."""
    policy: str = "generator"
    """zero, random, scripted (on Meta-World), expert (the zoo's nearest), generator (the shipped
    one), or the path of a generator, a zoo, a file of policies or an ONNX file."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: the first one of each task."""
    video: NewFile | None = None
    """Write an mp4 here; needs a rendering back end."""
    zoo: Path | None = None
    """Where `expert` is looked up; zoos/<family>/specialized-full by default."""
    every: Count | None = None
    """One frame of the video for so many steps; 20 frames a second unless given."""
    seed: Seed = 0
    """Of the initial state, and of the generator's noise."""

    def run(self, console: Console) -> None:
        from hyperpolicy.rollout import trace

        fam, contexts = tasks_of(self.family, self.context)
        self._check()
        if self.policy == "scripted":
            actor = scripts_of(fam, contexts)
        else:
            actor = maker_of(fam, self.policy, self.zoo)
        given = given_to(actor, contexts, self.demo)
        if hasattr(actor, "generate"):
            actor = actor.generate(given, seed=self.seed)
        with Announced(f"playing one episode of {fam.horizon_steps} steps"):
            found = trace(actor, fam, contexts, seed=self.seed)
        if self.video is not None:
            from hyperpolicy.evaluate.video import Film, record

            titles = [self.policy] * len(contexts)
            film = Film(every=self.every, seed=self.seed)
            record(actor, fam, contexts, self.video, titles, film)
        if self.policy == "expert":
            path = zoo_path(fam, self.zoo)
            known = open_zoo(fam, path).contexts
            chosen = known[fam.context.distance(contexts, known).argmin(axis=1)]
            names = ", ".join(fam.task_name(context) for context in chosen)
            console.print(f"nearest experts of {path}: {names}")
        console.print(_outcomes(fam, contexts, found))
        if self.video is not None:
            console.print(f"video: {self.video}")

    def _check(self) -> None:
        """Refuse what would be overwritten and what would have no effect."""
        if self.video is None:
            unused(self, ["every"], "without --video")
        else:  # what would stop the video is told before the episode
            from hyperpolicy.envs import rendering
            from hyperpolicy.evaluate import video

            video.check(self.video, self.every)
            rendering.back_end()
        if self.policy != "expert":
            unused(self, ["zoo"], f"with --policy {self.policy}; it is where `expert` is looked up")


def _outcomes(fam, contexts, found):
    """A table of what the policies did in their episode."""
    rows, header = [], ["target", "return", "steps", "over the second half"]
    for i, context in enumerate(contexts):
        steps = int(found.alive[i, 0].sum())
        mean = found.outcome[i, 0, steps // 2 : steps].mean(axis=0)
        row = [fam.task_name(context), f"{found.returns[i, 0]:.1f}", str(steps)]
        row.append(fam.outcome_name(mean))
        success = fam.success(found.outcome[i, 0, :steps])
        if success is not None:
            header = [*header[:4], "steps of success"]
            first = f", the first after {int(success.argmax()) + 1}" if success.any() else ""
            row.append(f"{int(success.sum())} of {steps}{first}")
        rows.append(row)
    return table(header, rows)
