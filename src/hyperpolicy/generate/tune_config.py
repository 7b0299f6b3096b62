"""How generated policies are fine-tuned (`generate.tune`): settings that act, and no others."""

from dataclasses import asdict, dataclass, field
from typing import Literal

from tyro.conf import Suppress

from hyperpolicy.bounds import (
    Bounded,
    Count,
    Decay,
    Number,
    PartialShare,
    Positive,
    Rate,
    Weight,
    Whole,
    kinds,
    unused,
)
from hyperpolicy.errors import BadSetting
from hyperpolicy.fleet import RoundSchedule, Schedule
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.td_sac import TdSacConfig

CriticStart = Literal["random", "warm-up", "nearest", "interpolated", "generated", "fitted"]
FRESH = ("random", "warm-up")
"""Starts of critics that know nothing; the others come out of a zoo."""


@dataclass(frozen=True)
class TuneSac(Bounded):
    """What of `TdSacConfig` is free: the generator decides on width and activations."""

    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.005
    """Share of the critics mixed into the target critics at each update."""
    actor_rate: Weight = 3e-4
    """Adam step size of the actor."""
    critic_rate: Rate = 1e-3
    """Adam step size of critics and temperature."""
    policy_period: Count = 2
    """Updates between visits to actor and temperature."""
    initial_alpha: Positive = 0.05
    """Temperature α at the start, in reward per nat; critics out of a zoo bring their own."""
    target_entropy: Number = -1.0
    """Entropy the temperature aims at, in nats per action."""
    usual_reward: Number = 0.0
    """Reward of a step, r̄, that critics need not learn; critics out of a zoo bring their own."""
    pull: Weight = 0.0
    """Weight of ‖θ − θ₀‖² in the actor's loss."""
    first_actor_rate: Weight = 3e-6
    """Adam step size of the actor at its first update."""
    ramp_updates: Count = 50_000
    """Updates until the actor's step size is `actor_rate`."""
    td: Weight = 0.1
    """λ at the first update: how much TD errors count in the actor's loss."""
    td_decay: Decay = 0.9999
    """λ shrinks by this factor at every update."""
    penalized: Literal["all", "overestimated"] = "all"
    """Which δ count: all, or those below zero, where Q(s, a) lies above its target."""
    warmup_updates: Whole = 5_000
    """Updates of the critics alone, before the actor's first; with `warm-up` critics only."""

    def of_width(self, width: int) -> TdSacConfig:
        """The learner's settings for policies of that width."""
        return TdSacConfig(width=width, **asdict(self))


@dataclass(frozen=True)
class TuneConfig(Bounded):
    steps: Count = 50_000
    """Environment steps at each context, all counted."""
    learner: Literal["td-sac", "ppo"] = "td-sac"
    """GenHyper's, or `rl/ppo.py`, which goes in small steps along what paid off: better for actors
    with little noise, such as PPO's own."""
    critics: CriticStart = "warm-up"
    """Where the critics start."""
    sac: TuneSac = field(default_factory=TuneSac)
    """Settings of td-sac."""
    ppo: Suppress[PpoConfig] = field(
        default_factory=lambda: PpoConfig(discount=0.97, warmup_rounds=4)
    )
    """The other learner; no options of the command line, whose names are the first one's."""
    fill_steps: Count = 1_000
    """Steps the generated policy collects before the first update of td-sac."""
    evaluate_every: Count = 2_500
    """Steps between two evaluations."""
    episodes: Count = 5
    """Episodes of each evaluation."""
    neighbors: Count = 2
    """Training experts whose transitions `fitted` critics learn from."""
    judge_updates: Count = 4_000
    """Offline updates of `fitted` critics."""

    def __post_init__(self):
        super().__post_init__()
        unused(self.ppo, ["width", "activations"], "in tuning, which takes the generator's")

    def refuse_unused(self) -> None:
        """Refuse settings that the learner or the critics' start leave without effect.

        Raises:
            BadSetting: one of them is not at its default.
        """
        if self.learner == "ppo":
            unused(self.sac, kinds(TuneSac), "with --learner ppo")
            unused(self, ["critics", "fill_steps"], "with --learner ppo")
        given = f"with --critics {self.critics}"
        if self.critics != "fitted":
            unused(self, ["neighbors", "judge_updates"], given)
        if self.critics != "warm-up":
            unused(self.sac, ["warmup_updates"], given)
        if self.critics not in FRESH:
            unused(self.sac, ["initial_alpha", "usual_reward"], f"{given}, which bring their own")

    def rounds(self, horizon_steps: int) -> RoundSchedule:
        """Rounds of 512 steps in eight worlds, after an episode that only looks; the weights of
        the last tenth are averaged.

        Raises:
            BadSetting: a budget too small to learn from one round.
        """
        num_rounds = (self.steps - horizon_steps) // 512
        if num_rounds <= self.ppo.warmup_rounds:
            raise BadSetting(
                f"steps={self.steps}: PPO looks for an episode and rests for "
                f"{self.ppo.warmup_rounds} rounds of 512 steps; give at least "
                f"{horizon_steps + 512 * (self.ppo.warmup_rounds + 1)} steps"
            )
        return RoundSchedule(
            num_rounds=num_rounds,
            num_envs=8,
            round_steps=64,
            num_checkpoints=1,
            num_evaluations=max(1, round(self.steps / self.evaluate_every)),
            episodes=self.episodes,
        )

    def schedule(self) -> Schedule:
        """One world and one update a step; the weights of the last tenth are averaged.

        Raises:
            BadSetting: a budget too small to fill one batch and learn from it.
        """
        least = max(self.fill_steps, Schedule().batch) + 1
        if self.steps < least or self.fill_steps < Schedule().batch:
            raise BadSetting(
                f"steps={self.steps}, fill_steps={self.fill_steps}: filling one batch takes "
                f"{Schedule().batch} steps; give more steps than fill_steps, and a fill_steps of "
                f"at least {Schedule().batch}"
            )
        updates = self.steps - self.fill_steps
        return Schedule(
            num_updates=updates,
            num_envs=1,
            updates_per_step=1,
            capacity=self.steps,
            fill_steps=self.fill_steps,
            average_from=0.9,
            num_checkpoints=1,
            num_evaluations=max(1, round(updates / self.evaluate_every)),
            episodes=self.episodes,
        )
