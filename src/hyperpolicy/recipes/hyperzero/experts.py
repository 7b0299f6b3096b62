"""The experts behind HyperZero's tables: for each split a base on its training contexts, folded and
fine-tuned; and, made apart, experts of all contexts for the oracle row.

Everything resumes: the same call goes on from what is there.

    OUT/<family>-<grid>/bases/                     the run of all splits' bases
    OUT/<family>-<grid>/<split>-base.safetensors
    OUT/<family>-<grid>/experts/                   the run of all splits' experts
    OUT/<family>-<grid>/<split>/                   the zoo of a split; `all` is the oracles'
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count
from hyperpolicy.envs import Grid, family
from hyperpolicy.fleet import Base, OnPolicy, RoundSchedule, fold, judging, train, train_bases
from hyperpolicy.fleet.start import Start
from hyperpolicy.headers import Training
from hyperpolicy.policies import Policies
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rollout import returns
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo

ALL = "all"
"""In a split's place: every context of the grid, for oracles."""
CHOOSING = 11
"""Seed of the episodes by which an expert and the base it began as are compared."""
PPO = PpoConfig(first_log_std=0.3, target_kl=0.02, epochs=4, minibatches=4)
"""Wide exploration and large steps: after 2.1 million steps 755 on seven signed speeds of the
cheetah; log σ = 0 with the other settings as usual reached 736 (benchmarks/LOG.md)."""


@dataclass(frozen=True)
class ExpertsPreset(Bounded):
    """How long bases and experts train."""

    rounds: Count = 500
    """Of a base."""
    worlds: Count = 168
    """Of a base; as many for each of its contexts, at least one."""
    expert_rounds: Count = 120
    """Of an expert."""
    expert_worlds: Count = 16
    """Of an expert."""
    learner: Suppress[PpoConfig] = PPO
    critic: Suppress[SacConfig] = field(default_factory=SacConfig)
    """Fits the experts' critics at the end."""

    def base(self, contexts: int) -> OnPolicy:
        """The plan of a base of so many contexts."""
        worlds = max(1, self.worlds // contexts) * contexts
        kept = RoundSchedule(
            num_rounds=self.rounds, num_envs=worlds, num_evaluations=8, num_checkpoints=1
        )
        return OnPolicy(self.learner, kept, self.critic)

    @property
    def expert(self) -> OnPolicy:
        """The plan of experts that go on from a base."""
        kept = RoundSchedule(
            num_rounds=self.expert_rounds,
            num_envs=self.expert_worlds,
            round_steps=64,
            average_from=0.7,
            num_evaluations=4,
            num_checkpoints=1,
        )
        warmup = max(1, self.expert_rounds // 10)
        return OnPolicy(replace(self.learner, value_hidden=(64, 64), warmup_rounds=warmup), kept)


SMALL = ExpertsPreset()
"""Two cores: two such runs side by side took half an hour for five splits of the cheetah."""
MANY = ExpertsPreset(expert_rounds=30)
"""For grids of ninety contexts, seventeen in a split: a quarter of the rounds of an expert."""


def contexts_of(grid: Grid, split: str) -> Float[np.ndarray, "n c"]:
    """A split's training contexts, or all of the grid."""
    return grid.contexts if split == ALL else grid.split(split).train


def place(out: Path, grid: Grid) -> Path:
    """The directory of a grid's experts."""
    return out / f"{grid.family}-{grid.name}"


def bases(out: Path, grid: Grid, splits: Sequence[str], preset: ExpertsPreset) -> dict[str, Base]:
    """The base of each split, trained on its training contexts alone; those of equally many
    contexts at once."""
    home = place(out, grid)
    paths = {split: home / f"{split}-base.safetensors" for split in splits}
    missing = [split for split in splits if not paths[split].exists()]
    sizes = {split: len(contexts_of(grid, split)) for split in missing}
    for size in sorted(set(sizes.values())):
        some = [split for split in missing if sizes[split] == size]
        pools = [contexts_of(grid, split) for split in some]
        run = home / f"bases-{'-'.join(some)}"
        found = train_bases(preset.base(size), family(grid.family), pools, None, run)
        for split, base in zip(some, found, strict=True):
            base.save(paths[split])
    found = {split: Base.load(path) for split, path in paths.items()}
    for split, base in found.items():
        plan = preset.base(len(contexts_of(grid, split)))
        _note(f"base of {split}", base.training, plan)
    return found


def _note(name: str, training: Training, plan: OnPolicy) -> None:
    """Warn where what is there was made in more or fewer rounds than a plan has."""
    asked = plan.updates(plan.schedule.turns)
    if training.updates != asked:
        warnings.warn(
            f"the {name} that is there had {training.updates:,} updates, and these settings ask "
            f"for {asked:,}; it is read as it is. For a new one choose another --out",
            stacklevel=3,
        )


def zoos(out: Path, grid: Grid, splits: Sequence[str], preset: ExpertsPreset) -> dict[str, Zoo]:
    """The experts of each split: its base folded at its training contexts and fine-tuned there,
    with critics unless they are the oracles; all splits at once. An expert that fine-tuning did not
    make better stays the folded base, and is named in the zoo's provenance."""
    fam, home = family(grid.family), place(out, grid)
    found = bases(out, grid, splits, preset)
    missing = [split for split in splits if not (home / split).exists()]
    if missing:
        starts = [fold(found[split], contexts_of(grid, split)) for split in missing]
        contexts = np.concatenate([contexts_of(grid, split) for split in missing])
        start = _joined(starts)
        run = Output(home / f"experts-{'-'.join(missing)}")
        zoo = train(preset.expert, fam, contexts, start._replace(critics=None), 0, run)
        zoo, kept = better(zoo.take(zoo.final_rows), start)
        if missing != [ALL]:  # nothing is cloned from the oracles
            zoo = judged(zoo, start, preset)
        first = 0
        for split, own in zip(missing, starts, strict=True):
            rows = np.arange(first, first + len(own.policies))
            first += len(rows)
            part, base = zoo.take(rows), found[split]
            spent = zoo.training.env_steps + base.training.env_steps // len(rows)
            training = Training(spent, zoo.training.updates, 0.0, own.seen)
            stayed = [c for c, k in zip(part.contexts.tolist(), kept[rows], strict=True) if k]
            about = {"grid": grid.name, "split": split, "base": base.provenance}
            about |= {"kept_the_base": stayed}
            whole = replace(part, training=training, provenance=part.provenance | about)
            whole.save(home / split, partial(_beside, base))
    made = {split: Zoo.load(home / split) for split in splits}
    for split, zoo in made.items():
        _note(f"zoo of {split}", zoo.training, preset.expert)
    return made


def better(zoo: Zoo, start: Start) -> tuple[Zoo, Bool[np.ndarray, " x"]]:
    """The zoo whose experts are the better ones of what they became and what they began as, on
    episodes of their own contexts; and which stayed what they began as."""
    became, began = zoo.finals, start.policies
    scores = [
        returns(who, zoo.family, zoo.contexts, 5, CHOOSING).mean(axis=1) for who in (became, began)
    ]
    kept = scores[0] < scores[1]
    weights = np.where(kept[:, None], began.weights, became.weights)
    best = np.maximum(*scores).astype(np.float32)
    return replace(zoo, weights=weights, returns=best), kept


def judged(zoo: Zoo, start: Start, preset: ExpertsPreset) -> Zoo:
    """The zoo with critics fitted on what its experts do, from the base's."""
    begin = start._replace(policies=zoo.finals)
    found = judging.judge_experts(preset.critic, zoo.family, zoo.contexts, begin, 0)
    assert found.critics is not None
    return replace(zoo, critics=found.critics, log_alpha=found.log_alpha)


def _beside(base: Base, new: Path) -> None:
    base.save(new / "base.safetensors")


def _joined(starts: Sequence[Start]) -> Start:
    """Several starts as one."""
    weights = np.concatenate([one.policies.weights for one in starts])
    critics = np.concatenate([one.critics for one in starts if one.critics is not None])
    alphas = [one.log_alpha for one in starts if one.log_alpha is not None]
    log_alpha = np.concatenate(alphas) if len(alphas) == len(starts) else None
    policies = Policies(weights, starts[0].policies.spec)
    return Start(policies, critics, log_alpha, starts[0].usual_reward)
