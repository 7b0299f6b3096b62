"""How generated policies are fine-tuned (`generate.tune`): settings that act, and no others."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hyperpolicy.bounds import Bounded, Count, unused
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import OffPolicy, OnPolicy, Plan, RoundSchedule, Schedule
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.rl.learner import Config
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.td_sac import TdSacConfig

CriticStart = Literal["random", "warm-up", "nearest", "interpolated", "generated", "fitted"]
FRESH = ("random", "warm-up")
"""Starts of critics that know nothing; the others come out of a zoo."""
GENTLE: dict[str, Config] = {
    one.learner.name: one
    for one in (
        TdSacConfig(initial_alpha=0.05, warmup_updates=5_000),
        PpoConfig(discount=0.97, warmup_rounds=4),
    )
}
"""Presets that do not spoil a start; other learners have their own defaults. Critics out of a zoo
bring their own temperature, and let the actor begin at once."""


@dataclass(frozen=True)
class TuneConfig(Bounded):
    steps: Count = 50_000
    """Environment steps at each context, all counted."""
    critics: CriticStart = "warm-up"
    """Where the critics start."""
    cfg: Any = field(default_factory=lambda: GENTLE["td-sac"])
    """The learner's settings; PPO goes in small steps along what paid off: better for actors with
    little noise, such as PPO's own."""
    fill_steps: Count = 1_000
    """Steps the generated policy collects before the first update of a learner from replay."""
    evaluate_every: Count = 2_500
    """Steps between two evaluations."""
    episodes: Count = 5
    """Episodes of each evaluation."""
    neighbors: Count = 2
    """Training experts whose transitions `fitted` critics learn from."""
    judge_updates: Count = 4_000
    """Offline updates of `fitted` critics."""

    @property
    def has_critics(self) -> bool:
        """Whether the learner has critics of actions, which start somewhere."""
        return self.cfg.learner.improve_critics is not None

    def refuse_unused(self) -> None:
        """Raise BadSetting for a setting that is not at its default and that the learner or the
        critics' start leave without effect."""
        name = self.cfg.learner.name
        normal = GENTLE.get(name, type(self.cfg)())
        ours, given = "in tuning, which takes the generator's", f"with --critics {self.critics}"
        inherited = {"hidden": ours, "activations": ours}
        if not self.has_critics:
            unused(self, ["critics", "fill_steps"], f"with --learner {name}")
        if self.critics != "fitted":
            unused(self, ["neighbors", "judge_updates"], given)
        if self.critics != "warm-up":
            inherited["warmup_updates"] = given
        if self.critics not in FRESH:
            theirs = f"{given}, which bring their own"
            inherited |= {"initial_alpha": theirs, "usual_reward": theirs}
        for field_name, why in inherited.items():
            if getattr(self.cfg, field_name, None) != getattr(normal, field_name, None):
                value, option = getattr(self.cfg, field_name), field_name.replace("_", "-")
                raise BadSetting(f"{field_name}={value} has no effect {why}; leave out --{option}")

    def plan(self, spec: PolicySpec, horizon_steps: int) -> Plan:
        """How policies of `spec` are tuned; raises BadSetting for a budget too small to learn from,
        and BadZoo for an architecture that the learner cannot go on from."""
        cfg = replace(self.cfg, hidden=spec.hidden, activations=spec.activations)
        if self.has_critics and set(spec.activations) != {"relu"}:
            raise BadZoo(f"critics have ReLU layers, as actors must; this generator writes {spec}")
        if hasattr(cfg, "warmup_updates") and self.critics != "warm-up":
            cfg = replace(cfg, warmup_updates=0)
        if cfg.learner.learns_from == "rounds":
            return OnPolicy(cfg, self.rounds(horizon_steps))
        return OffPolicy(cfg, self.schedule())

    def rounds(self, horizon_steps: int) -> RoundSchedule:
        """Rounds of 512 steps in eight worlds, after an episode that only looks; the weights of
        the last tenth are averaged. Raises BadSetting where that leaves no round to learn from."""
        num_rounds, rest = (self.steps - horizon_steps) // 512, self.cfg.warmup_rounds
        if num_rounds <= rest:
            raise BadSetting(
                f"steps={self.steps}: {self.cfg.learner.name} looks for an episode and rests for "
                f"{rest} rounds of 512 steps; give at least "
                f"{horizon_steps + 512 * (rest + 1)} steps"
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
        """One world and one update a step; the weights of the last tenth are averaged. Raises
        BadSetting where one batch cannot be filled and learned from."""
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
