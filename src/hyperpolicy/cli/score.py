"""The command that scores policies beside trivial and published rows."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional, UseAppendAction

from hyperpolicy.bounds import Count, Names, Seed
from hyperpolicy.cli.command import (
    Command,
    NewFile,
    maker_of,
    open_zoo,
    reads_demonstrations,
    refuse,
    scripts_of,
    tasks_of,
    zoo_path,
)
from hyperpolicy.errors import BadContext, BadSetting, BadZoo
from hyperpolicy.terminal import Terminal

STANDING = ("zero", "random")
"""Sources that have a row in every table anyhow."""


@dataclass(frozen=True)
class Score(Command):
    """Score sources of policies on a split's test contexts, beside trivial and published rows.

    Rows out of the zoo (nearest expert, interpolated neighbors, regression, the test contexts' own
    experts) are there if the zoo has these experts. Zero action and random always are.
    """

    family: Positional[str]
    """Task family, e.g. cheetah-vel; with named tasks, metaworld:window-open."""
    policy: Names = ("generator",)
    """Sources as in `play`: zero, random, scripted, expert, generator, or paths of generators,
    zoos and files of policies."""
    method: UseAppendAction[tuple[Path, ...]] = ()
    """A Python file with a method of your own (docs/evaluation.md); give it several times for
    several. Without --policy, only these are scored."""
    grid: str | None = None
    """Grid of contexts; the family's first one unless given."""
    split: str | None = None
    """Split of the grid whose test contexts are scored; full, or the grid's first one."""
    zoo: Path | None = None
    """Zoo of the trivial rows; zoos/<family>/specialized-<split> by default."""
    demo: Path | None = None
    """Demonstrations, for generators that read them; --draws of each task."""
    episodes: Count | None = None
    """Episodes of each policy on each context; 100 on Ant-Dir, 20 on Meta-World, 10 elsewhere."""
    draws: Count = 1
    """Policies of a generator on each context: draws of its noise, or demonstrations."""
    seed: Seed = 0
    """Of the episodes."""
    out: NewFile | None = None
    """Write all returns here, as JSON."""

    def run(self, console: Console) -> None:
        from hyperpolicy.evaluate import compare, published, standard_rows
        from hyperpolicy.evaluate.protocol import TOLD_SYMMETRIES, usual_episodes
        from hyperpolicy.evaluate.scoring import check_counts
        from hyperpolicy.recipes.zero_shot.methods import turned

        refuse(self.out)
        fam, split, named = self._tasks()
        episodes = usual_episodes(fam) if self.episodes is None else self.episodes
        check_counts(episodes, self.draws, self.seed)
        rows, readers = self._rows(fam, split)
        shown = self._demonstrations(fam, split, readers)
        trivial, missing = ({}, "") if named else self._zoo_rows(fam, split)
        columns = [getattr(maker, "column", None) for row in rows.values() for maker in row.makers]
        rows |= trivial
        if TOLD_SYMMETRIES in columns:
            rows |= turned(trivial)
        scores = standard_rows(fam, split.test, rows, episodes, self.seed, _say)
        for name, maker in readers.items():
            _say(name)
            scores[name] = self._read(maker, fam, split, shown, episodes)
        others = () if named or split.name != "full" else published(fam.name, split.grid)
        comparison = compare(scores, others)
        if self.out is not None:
            comparison.save(self.out)  # before anything is printed
        if missing:
            console.print(missing)
        tasks = "the named tasks" if named else f"grid {split.grid}, split {split.name}"
        what = f"{len(split.test)} test contexts, {episodes} episodes each"
        console.print(comparison.rich(f"{fam.name}, {tasks}: {what}"))
        if self.out is not None:
            console.print(f"all returns: {self.out}")

    # --- Tasks --------------------------------------------------------------------------------
    def _tasks(self):
        """Family, split, and whether its test contexts were named."""
        import numpy as np

        from hyperpolicy.envs import Split, family

        if ":" in self.family:
            fam, contexts = tasks_of(self.family, ())
            if self.grid or self.split:
                raise BadSetting(f"{self.family} names its tasks; leave --grid and --split out")
            none, ids = np.arange(0), np.arange(len(contexts))
            return fam, Split(fam.name, "none", "none", contexts[:0], contexts, none, ids), True
        fam = family(self.family)
        grid = fam.grid(self.grid)
        splits = list(grid.splits)
        if not splits and self.split is None:
            raise BadSetting(f"grid {grid.name} of {fam.name} has no splits; name tasks instead")
        return fam, grid.split(self.split or ("full" if "full" in splits else splits[0])), False

    # --- Rows ---------------------------------------------------------------------------------
    def _rows(self, fam, split):
        """Rows to score on contexts, and generators that read demonstrations; options that nothing
        uses are refused."""
        from hyperpolicy.evaluate import Row, foreign
        from hyperpolicy.evaluate.protocol import BY_HAND, STANDARD

        asked = () if self.method and self.policy == ("generator",) else self.policy
        rows, readers = {}, {}
        for name in dict.fromkeys(asked):
            if name in STANDING:
                continue
            if name == "scripted":
                script = scripts_of(fam, split.test)
                rows[name] = Row([script], given=BY_HAND, pipelines=())
                continue
            maker = self._maker(fam, split, name)
            if reads_demonstrations(maker):
                readers[name] = maker
                continue
            given = None if hasattr(maker, "generate") else "policies written beforehand"
            rows[name] = Row([maker], draws=self.draws, given=given)
        taken = [*rows, *readers, *STANDARD]
        rows |= foreign.methods(self.method, fam, split.test, self.draws, taken)
        writers = [row for row in rows.values() if hasattr(row.makers[0], "generate")]
        if self.draws > 1 and not writers and not readers:
            raise BadSetting(f"--draws {self.draws}: nothing here draws policies; leave it out")
        if self.demo is not None and not readers:
            raise BadSetting(f"--demo {self.demo}: no policy here reads demonstrations")
        return rows, readers

    def _demonstrations(self, fam, split, readers):
        """What generators are shown; too little of a task is refused."""
        from hyperpolicy.data.demonstrations import Demonstrations

        if not readers:
            return None
        if self.demo is None:
            raise BadContext(f"{', '.join(readers)} reads demonstrations; give --demo FILE")
        shown = Demonstrations.load(self.demo)
        short = [c for c in split.test if len(shown.of(c)) < self.draws]
        if short:
            held = sorted({fam.task_name(c) for c in shown.contexts})
            raise BadContext(
                f"{self.demo} has fewer than {self.draws} demonstrations of "
                f"{', '.join(map(fam.task_name, short))}; it shows {', '.join(held)}: name those "
                f"tasks, as in {fam.name}:{held[0] if held else 'TASK'}"
            )
        return shown

    def _read(self, maker, fam, split, shown, episodes: int):
        """The score of a generator that reads demonstrations; that it knows the tasks is said."""
        from hyperpolicy.evaluate.protocol import DEMONSTRATION
        from hyperpolicy.evaluate.scoring import Row, score_demonstrated

        gaps = fam.context.distance(split.test, maker.trained_contexts).min(axis=1)
        known = f"{DEMONSTRATION}, trained on {int((gaps < 1e-6).sum())} of the tasks"
        given = known if (gaps < 1e-6).any() else DEMONSTRATION
        row = Row([maker], draws=self.draws, given=given)
        demos = [shown.of(context) for context in split.test]
        return score_demonstrated(row, fam, demos, episodes, self.seed)

    def _maker(self, fam, split, name: str):
        """The maker of a row; one that trained on a test context is refused."""
        from hyperpolicy.generate.writers import lookup

        if name == "expert":
            path = zoo_path(fam, self.zoo, split.name)
            return lookup.nearest(_training(open_zoo(fam, path), split))
        maker = maker_of(fam, name, self.zoo)
        trained = getattr(maker, "trained_contexts", split.test[:0])
        if reads_demonstrations(maker) or not len(trained):
            return maker
        if fam.context.distance(split.test, trained).min() < 1e-6:
            raise BadZoo(
                f"{name} was trained on test contexts of split {split.name!r}; score it on a split "
                "that held its test contexts out, or fit one on this split"
            )
        return maker

    def _zoo_rows(self, fam, split) -> tuple[dict, str]:
        """Rows out of the zoo, or none and why; raises BadZoo where --zoo was given and is none."""
        from hyperpolicy.evaluate import Row
        from hyperpolicy.evaluate import protocol as names
        from hyperpolicy.generate.fitting import fit
        from hyperpolicy.generate.writers import lookup
        from hyperpolicy.generate.writers.regression import RegressionConfig
        from hyperpolicy.recipes.zero_shot.methods import Source

        try:
            path = zoo_path(fam, self.zoo, split.name)
            train = _training(open_zoo(fam, path), split)
        except BadZoo as error:
            if self.zoo is not None:
                raise
            return {}, f"without rows of experts: {error}"
        source = Source.beside(path, train)
        spent = source.env_steps or None
        rows = {names.NEAREST: Row([lookup.nearest(train)], spent)}
        if fam.context.size == 1:
            rows[names.INTERPOLATED] = Row([lookup.linear(train)], spent)
        if source.base is not None:
            env_steps = source.base.training.env_steps
            rows[names.CONDITIONED] = Row([source.conditioned()], env_steps)
        rows[names.REGRESSION] = Row([fit(RegressionConfig(), train)], spent)
        try:
            oracles = open_zoo(fam, zoo_path(fam, self.zoo)).only(split.test)
        except BadZoo:  # nobody trained on the test tasks
            return rows, ""
        return rows | {names.ORACLE: Row([oracles.finals])}, ""


def _training(zoo, split):
    """The zoo's experts at the split's training contexts; where it has none of them, those that
    stand at no test context, as imported experts do. Raises BadZoo: it has some of them."""
    space = zoo.family.context
    if not len(split.train) or space.distance(zoo.contexts, split.train).min() > 1e-6:
        apart = space.distance(zoo.contexts, split.test).min(axis=1) > 1e-6
        return zoo.only(zoo.contexts[apart])
    return zoo.only(split.train)


def _say(name: str) -> None:
    """Who plays now: a hundred starts take a while."""
    Terminal(news=True).print(f"playing: {name}")
