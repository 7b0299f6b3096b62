"""A study of many tasks, cell by cell: a method and a seed, trained, and tested at the end.

OUT/<method>/run-<seeds>/  the run of a method's cells, which resumes
OUT/<method>/seed-<s>.json a cell's card, curve and successes; a cell that has one is read
OUT/goals-<seeds>.json     what each seed's tasks ask for, where each task asks for one thing
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from tyro.conf import Suppress

from hyperpolicy import files, seeds
from hyperpolicy.bounds import Bounded, Count, Names, Place, Seeds, Weight, Whole
from hyperpolicy.data import sentences
from hyperpolicy.envs import Family, family
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.errors import BadFile, BadSetting, OutOfTime, UnknownTask, unknown
from hyperpolicy.evaluate import protocol
from hyperpolicy.fleet import OffPolicy, OnPolicy, RoundSchedule, Schedule
from hyperpolicy.fleet.multi_task import (
    FILE,
    Generalists,
    goals_of,
    of_tasks,
    train_multi_task,
)
from hyperpolicy.recipes.multi_task import methods
from hyperpolicy.recipes.multi_task.methods import PAPER, SMALL, STUDY, Scale
from hyperpolicy.recipes.stage import slug
from hyperpolicy.run.job import Output

TEST_SEED = 20
"""Of the episodes a finished policy is tested in, where goals are drawn."""


@dataclass(frozen=True)
class StudyConfig(Bounded):
    """What is trained, and how long."""

    out: Place = Path("runs/mt10")
    methods: Names = STUDY
    """Names of methods; `hyperpolicy recipe mt10-200k --methods "?"` lists them."""
    seeds: Seeds = (0, 1, 2, 3)
    """Each gives networks, exploration and goals; all methods have a seed's goals. Seeds of one
    method train side by side."""
    protocol: Literal["ptsl", "mw+"] = "ptsl"
    """ptsl: 150 steps, one goal a task, reward v1. mw+: 500 steps, goals drawn anew, reward v2."""
    preset: Literal["small", "paper"] = "small"
    """Sizes of networks and batches."""
    steps: Count = 60_000
    """Steps of every task's world."""
    episodes: Count = 10
    """Of the test at the end, where goals are drawn."""
    tasks: tuple[str, ...] = ()
    """Names of tasks, instead of the grid's."""
    leave_out: tuple[str, ...] = ()
    """Tasks that are not trained; methods that can are tested on them at the end."""
    minutes: Weight = 10_000.0
    """After which work stops, to go on in the next call; 0: the page of what there is."""
    grid: Suppress[str] = "mt10"
    evaluations: Suppress[Count] = 20
    batch: Suppress[Whole] = 0
    """Rows in a batch; 0: 32 a task in `small`, 128 in `paper`."""

    def __post_init__(self):
        super().__post_init__()
        if self.steps < self.family.horizon_steps:
            raise BadSetting(
                f"steps={self.steps} (--steps); give one episode or more, "
                f"{self.family.horizon_steps} steps"
            )

    @property
    def scale(self) -> Scale:
        """Widths."""
        return SMALL if self.preset == "small" else PAPER

    @property
    def family(self) -> Family:
        """The family with the protocol's horizon, reward and goals."""
        if self.protocol == "mw+":
            return family("metaworld")
        return MetaWorld(name="metaworld-v1", reward_version="v1", horizon_steps=150, frozen=True)

    @property
    def all_tasks(self) -> Float[np.ndarray, "m c"]:
        """The tasks that are trained, and those left out."""
        own = family("metaworld")
        if self.tasks:
            return np.concatenate([own.grid(f"mt1:{name}").contexts for name in self.tasks])
        return own.grid(self.grid).contexts

    @property
    def left_out(self) -> Bool[np.ndarray, " m"]:
        """Which of all tasks are not trained. Raises UnknownTask, BadSetting: a name that is none
        of them, or nothing is left to train."""
        names = self.names(self.all_tasks)
        for name in self.leave_out:
            if name not in names:
                raise unknown(UnknownTask, "task of this study called", "Tasks", name, names)
        found = np.isin(names, self.leave_out)
        if found.all():
            raise BadSetting("--leave-out names every task; leave one to train")
        return found

    @property
    def contexts(self) -> Float[np.ndarray, "k c"]:
        """The tasks that are trained."""
        return self.all_tasks[~self.left_out]

    def names(self, contexts: Float[np.ndarray, "m c"]) -> list[str]:
        """Names of tasks."""
        return [self.family.task_name(task) for task in contexts]

    def card(self) -> dict:
        """How a number was measured: what must be alike where two are compared."""
        own, fixed = self.family, self.protocol == "ptsl"
        known = protocol.of(own, self.contexts).lines()
        rows = self.batch or (32 if self.preset == "small" else 128) * len(self.contexts)
        named = " ".join(self.tasks) or self.grid
        without = f" without {' '.join(self.leave_out)}" if self.leave_out else ""
        return {
            **dict(known),
            "tasks": named + without,
            "goals": "one a task, from the seed" if fixed else "drawn for each episode",
            "reward in replay": "as paid, divided when drawn by what the method divides by",
            "steps of every task": self.steps,
            "rows in a batch": rows,
            "test": "deterministic, "
            + ("each task's goal" if fixed else f"{self.episodes} episodes a task"),
        }


def plan_of(config: StudyConfig, method: str) -> OffPolicy | OnPolicy:
    """A method's learner and schedule."""
    tasks, own = config.contexts, config.family
    learner = methods.learner(method, config.scale, len(tasks), sentences.of(config.names(tasks)))
    if learner.learner.learns_from == "rounds":
        return OnPolicy(learner, _rounds(config, len(tasks)))
    learner = of_tasks(learner, len(tasks), 1, own.horizon_steps)
    if config.protocol == "mw+" and hasattr(learner, "reward_scale"):
        learner = replace(learner, reward_scale="none", clip=1.0)
    often = learner.updates_per_step
    fill = min(1_500, config.steps // 10)
    schedule = Schedule(
        num_updates=often * (config.steps - fill),
        updates_per_step=often,
        fill_steps=fill,
        first_updates=fill if config.protocol == "ptsl" and often == 1 else 0,
        num_envs=len(tasks),
        batch=config.card()["rows in a batch"],
        capacity=min(config.steps // 2, 100_000) * len(tasks),
        average_from=0.95,
        num_checkpoints=1,
        num_evaluations=config.evaluations,
        episodes=1,
        num_states=1,
    )
    return OffPolicy(learner, schedule)


def _rounds(config: StudyConfig, k: int) -> RoundSchedule:
    """As many steps of every task, in rounds of 100 steps of four worlds."""
    worlds = 4
    steps = min(100, config.steps // worlds)
    return RoundSchedule(
        num_rounds=config.steps // (worlds * steps),
        num_envs=worlds * k,
        round_steps=steps,
        num_checkpoints=1,
        num_evaluations=config.evaluations,
        episodes=1,
        num_states=1,
    )


# --- Cells --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cell:
    """What came of one method and seed."""

    method: str
    seed: int
    card: dict
    numbers: int
    """Numbers that were trained."""
    steps: list[int]
    """Of every task, at each report."""
    train: list[float]
    """Successes among the training episodes since the last report: drawn actions, at any step."""
    test: list[float]
    """Successes of the deterministic policy at each report, the mean of tasks."""
    any_step: list[float]
    """Of the final policy, task by task: shares of episodes with a success at any step."""
    last_step: list[float]
    returns: list[float]
    minutes: float
    """Of the run, shared between its seeds."""
    died_at: int
    """Updates after which its numbers were not finite; −1 where they were."""
    left_out: list[float] | None = None
    """Successes at any step on tasks left out of training; None: none, or it knows nothing of
    them."""

    @property
    def success(self) -> float:
        """The mean of tasks."""
        return float(np.mean(self.any_step))

    @property
    def end(self) -> float:
        """Training episodes' successes in the last tenth, as the published curves end."""
        last = [x for t, x in zip(self.steps, self.train, strict=True) if t > 0.9 * self.steps[-1]]
        return float(np.mean(last))


def run(config: StudyConfig) -> tuple[dict[str, list[Cell]], list[str]]:
    """method → its cells, one a seed; and methods that time did not suffice for, wholly or in part.

    Raises:
        BadSetting: no such method, or cells there of another protocol.
        UnknownTask, UnknownGrid: as named.
    """
    for method in config.methods:  # before any work
        plan_of(config, method)
    _goals(config)
    until = time.monotonic() + 60.0 * config.minutes
    found: dict[str, list[Cell]] = {}
    late: list[str] = []
    for method in config.methods:
        own, whole = cells(config, method, until)
        late += [] if whole else [method]
        found |= {method: own} if own else {}
    return found, late


def cells(config: StudyConfig, method: str, until: float) -> tuple[list[Cell], bool]:
    """A method's cells, and whether they are all: those that are there are read, the seeds of the
    others trained side by side, until the monotonic time `until`, in seconds."""
    place = config.out / slug(method)
    paths = {seed: place / f"seed-{seed}.json" for seed in config.seeds}
    found = {seed: _read(config, path) for seed, path in paths.items() if path.exists()}
    missing = [seed for seed in config.seeds if seed not in found]
    minutes = (until - time.monotonic()) / 60.0
    if missing and minutes > 0:
        out = Output(place / f"run-{'-'.join(map(str, missing))}", minutes=minutes)
        with suppress(OutOfTime):
            for cell in _train(config, method, missing, out):
                files.save_json(paths[cell.seed], asdict(cell))
                found[cell.seed] = cell
    own = [found[seed] for seed in config.seeds if seed in found]
    return own, len(own) == len(config.seeds)


def _read(config: StudyConfig, path: Path) -> Cell:
    try:
        known = Cell(**files.load_json(path))
        card = {"engine": protocol.Protocol.engine} | known.card
        whole = _is_whole(known)
    except (TypeError, ValueError):
        card, whole = {}, False
    if not whole:
        raise BadFile(f"{path} is no cell of a study; remove it")
    unlike = [
        f"{name}: {card.get(name)}, here {value}"
        for name, value in config.card().items()
        if card.get(name) != value
    ]
    if unlike:
        raise BadSetting(
            f"{path} was measured otherwise ({'; '.join(unlike)}); give the same settings, or "
            "another --out"
        )
    return known


def _is_whole(cell: Cell) -> bool:
    """Whether there is a number at each report, and one of each task."""
    reports = {np.asarray(x, float).shape for x in (cell.steps, cell.train, cell.test)}
    tasks = {np.asarray(x, float).shape for x in (cell.any_step, cell.last_step, cell.returns)}
    return all(len(x) == 1 and x != {(0,)} and x != {()} for x in (reports, tasks))


def _train(config: StudyConfig, method: str, seeds: list[int], out: Output) -> list[Cell]:
    """The cells of several seeds, trained side by side. A seed that diverged has no success. Raises
    OutOfTime: its minutes are over."""
    plan, own, tasks = plan_of(config, method), config.family, config.contexts
    fixed, k, without = config.protocol == "ptsl", len(tasks), config.left_out
    goals = goals_of(seeds, len(without))[:, ~without] if fixed else None
    began = time.monotonic()
    policies = train_multi_task(plan, own, tasks, seeds, goals, out)
    lines = files.load_lines(out.path / "metrics.jsonl")
    rows = [line for line in lines if "train_success" in line]  # where an episode has ended
    minutes = max(rows[-1]["seconds"], time.monotonic() - began) / 60 / len(seeds)
    elsewhere = _elsewhere(config, policies)
    found = []
    for i, seed in enumerate(seeds):
        reached, others = np.zeros((3, k)), None
        if seed in policies.seeds:
            row = policies.seeds.index(seed)
            if elsewhere is not None:
                tested = elsewhere.results(row, 1 if fixed else config.episodes, TEST_SEED)
                others = tested.success.mean(axis=1).tolist()
            tested = policies.results(row, 1 if fixed else config.episodes, TEST_SEED)
            parts = tested.success, tested.last_success, tested.returns
            reached = np.stack([part.mean(axis=1) for part in parts])
        found.append(
            Cell(
                method,
                seed,
                config.card(),
                methods.count(plan.cfg, k),
                [line["env_steps"] // k for line in rows],
                [line["train_success"][i] for line in rows],
                [line["success"][i] for line in rows],
                reached[0].tolist(),
                reached[1].tolist(),
                reached[2].tolist(),
                minutes,
                rows[-1]["died_at"][i],
                others,
            )
        )
    return found


def _elsewhere(config: StudyConfig, policies: Generalists) -> Generalists | None:
    """The policies at the tasks left out; None: there are none, or nothing is known of them."""
    without = config.left_out
    if not without.any():
        return None
    contexts, goals = config.all_tasks[without], None
    if policies.goals is not None:
        goals = goals_of(policies.seeds, len(without))[:, without]
    try:
        return policies.elsewhere(contexts, sentences.of(config.names(contexts)), goals)
    except BadSetting:
        return None


def policy(config: StudyConfig, method: str, seed: int) -> tuple[Generalists, int]:
    """The policies of the run that made a cell, and the cell's row. Raises BadFile: they are not
    there, or the seed diverged."""
    for run in sorted((config.out / slug(method)).glob("run-*")):
        if str(seed) in run.name.split("-")[1:]:
            found = Generalists.load(run / FILE)
            if seed in found.seeds:
                return found, found.seeds.index(seed)
    raise BadFile(f"there is no policy of {method!r} and seed {seed} in {config.out}")


def _goals(config: StudyConfig) -> None:
    """Write down what each seed's tasks ask for; every method has the same."""
    if config.protocol != "ptsl":
        return
    own, tasks = config.family, config.all_tasks

    def draw() -> dict:
        found = {}
        for seed in config.seeds:
            starts = goals_of([seed], len(tasks))[0]
            obs = own.worlds(tasks, starts).reset()
            named = config.names(tasks)
            found[str(seeds.check(seed))] = {
                name: {"seed": int(start), "goal": np.round(row[-3:], 4).tolist()}
                for name, start, row in zip(named, starts, obs.astype(float), strict=True)
            }
        return found

    path = config.out / f"goals-{'-'.join(map(str, config.seeds))}.json"
    files.save_json(path, draw(), overwrite=True)
