"""The command that lets generated policies go on learning."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy import rl
from hyperpolicy.bounds import OneOf, Place, Seed, unused
from hyperpolicy.cli.command import Command, option, table
from hyperpolicy.cli.sources import contexts_of
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.tune_config import FRESH, GENTLE, TuneConfig
from hyperpolicy.rl import LEARNERS


@dataclass(frozen=True)
class Tune(Command):
    """Fine-tune the policies a generator writes, each in its own task; all of them at once."""

    resumes: ClassVar[bool] = True

    generator: Positional[str]
    """A shipped generator's name, or a generator's directory."""
    context: tuple[float, ...]
    """One or more contexts; repeat one to tune it several times."""
    out: Place
    """Directory of the run. The same command resumes a stopped run."""
    zoo: Path | None = None
    """The zoo the generator was fitted on, for critics that start from its experts."""
    seed: Seed = 0
    """Of the generator's noise, the worlds and the learners."""
    video: bool = True
    """Record the first context's policy before and after; needs a rendering back end."""
    learner: Annotated[str, OneOf(LEARNERS)] = "td-sac"
    """GenHyper's, or another one; its settings are options too."""
    config: TuneConfig = field(default_factory=TuneConfig)

    @classmethod
    def shaped(cls, options: Sequence[str]) -> type[Command]:
        return _tune_by(option(options, "learner", cls.learner))

    def run(self, console: Console) -> None:
        from hyperpolicy.evaluate.tables import number
        from hyperpolicy.generate import load
        from hyperpolicy.generate.tune import tune
        from hyperpolicy.run.directory import hold
        from hyperpolicy.zoo import Zoo

        self._check()
        generator = load(self.generator)
        fam = generator.family
        contexts = contexts_of(fam, self.context)
        zoo = None if self.zoo is None else Zoo.load(self.zoo)
        with hold(self.out):
            tuned = tune(self.config, generator, contexts, zoo, self.seed, self.out)
            missing = self._save(fam, contexts, tuned)

        names = [fam.task_name(context) for context in contexts]
        before, after = tuned.before.mean(axis=1), tuned.after.mean(axis=1)
        rows = [
            (name, *map(number, pair))
            for name, *pair in zip(names, before, after, after - before, strict=True)
        ]
        console.print(table(["task", "before", "after", "change"], rows))
        if missing:
            console.print(f"no video: {missing}")
        console.print(
            f"{self.out}: tuned policies in zoo/, each context's better one in better.safetensors, "
            "what the generator wrote in start.safetensors, the curve in curve.png"
        )

    def _check(self) -> None:
        """Refuse what would have no effect, and critics whose zoo is missing."""
        self.config.refuse_unused()
        given = self.config.has_critics and self.config.critics not in FRESH
        if not given:
            unused(self, ["zoo"], f"with --critics {self.config.critics}, which know nothing")
        if self.zoo is None and given:
            raise BadSetting(
                f"critics={self.config.critics} come from the experts' zoo; give the one the "
                "generator was fitted on by --zoo, or take --critics warm-up"
            )

    def _save(self, fam, contexts, tuned) -> str:
        """Everything beside the tuned zoo, before anything is printed; why there is no video."""
        from hyperpolicy import files
        from hyperpolicy.evaluate import learning

        for name, policies in (("start", tuned.start), ("better", tuned.better)):
            files.write(self.out / f"{name}.safetensors", policies.save, overwrite=True)
        panels = {
            fam.task_name(context): {"tuned": learning.read(self.out / "metrics.jsonl", [i])}
            for i, context in enumerate(contexts[:4])
        }
        how = self.learner + (f", critics: {self.config.critics}" * self.config.has_critics)
        title = f"{fam.name}: fine-tuning, {how}"
        learning.plot_tasks(panels, self.out / "curve.png", title, overwrite=True)
        return self._film(fam, contexts, tuned) if self.video else ""

    def _film(self, fam, contexts, tuned) -> str:
        from hyperpolicy.errors import NoRendering
        from hyperpolicy.evaluate.video import Film, record

        for name, policies in (("before", tuned.start), ("after", tuned.zoo.finals)):
            path = self.out / f"{name}.mp4"
            if path.exists():  # of the same run: a directory holds only one
                continue
            try:
                record(policies[0], fam, contexts[:1], path, (name,), Film(steps=120))
            except NoRendering as error:
                return str(error)
        return ""


@cache
def _tune_by(learner: str) -> type[Command]:
    """The command with the settings of a learner."""
    cfg = GENTLE.get(learner) or rl.config(learner)()
    one = [("cfg", type(cfg), field(default=cfg))]
    config = make_dataclass("TuneConfig", one, bases=(TuneConfig,), frozen=True)
    held = [("config", config, field(default=config()))]
    return make_dataclass("Tune", held, bases=(Tune,), frozen=True)
