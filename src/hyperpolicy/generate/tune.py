"""Fine-tuning: generated policies that go on learning at their own contexts, all at once.

GenHyper's second stage. A generator writes the actors; `rl/td_sac.py` trains them; what this page
decides is where the critics start, which the paper leaves random:

    random        fresh networks, as published; they spoil the actor before they can judge it
    warm-up       fresh networks, and an actor at rest while they learn from its interactions
    nearest       those of the nearest training expert
    interpolated  those of the two neighbors, mixed
    generated     HypLatent's, fitted on the experts' critics
    fitted        the nearest expert's, then trained offline to judge the generated actor, on
                  transitions of the neighboring experts relabeled for its context

All but the first two need the zoo the generator was fitted on. A learner from rounds, such as PPO,
has no critics of actions: a value network learns first, while the actor rests. Interactions at the
tuned contexts count from the first one, whatever they are used for.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy import fleet, seeds
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import Plan, Start
from hyperpolicy.fleet.judging import EXPERTS, fit_critics
from hyperpolicy.generate import critics
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.tune_config import FRESH, TuneConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.policies import Policies
from hyperpolicy.rl.learner import Config
from hyperpolicy.rollout import experience, returns
from hyperpolicy.run.directory import alone
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo

REPORT_SEED = 31
"""Episodes on which a tuned policy is compared with its start; training evaluates on others."""


class Tuned(NamedTuple):
    zoo: Zoo
    """The tuned policies, one expert a row of contexts."""
    start: Policies
    """What the generator wrote."""
    before: Float[np.ndarray, "n e"]
    """Returns of the start, and of the tuned policy on the same episodes."""
    after: Float[np.ndarray, "n e"]

    @property
    def better(self) -> Policies:
        """Each context's better policy: the tuned one, or its start."""
        worse = self.after.mean(axis=1) < self.before.mean(axis=1)
        weights = np.where(worse[:, None], self.start.weights, self.zoo.finals.weights)
        return Policies(weights, self.start.spec)


@alone
def tune(
    config: TuneConfig,
    generator: Generator,
    contexts,
    zoo: Zoo | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Tuned:
    """Generated policies after `config.steps` interactions at each context [n, c].

    With `out`, the run resumes after a kill; its curve is `out/metrics.jsonl`, the tuned zoo
    `out/zoo`. Repeat a context to tune it several times: every row has its own randomness.

    Raises:
        BadContext: contexts out of bounds, not finite, or of the wrong shape.
        BadSetting: a seed that is none, a budget too small, or critics that need a zoo and none
            is given.
        BadZoo: the generator's architecture cannot be tuned, or the zoo is of another family.
        Busy: another process works in `out`.

    Warns:
        UserWarning: a tuned policy is worse than its start; both are in the result.
    """
    seeds.check(seed)
    fam = generator.family
    contexts = fam.context.check(contexts)
    if zoo is not None:
        zoo = _known(generator, zoo)
    policies = generator.generate(contexts, seed)
    plan, start = config.plan(generator.spec, fam.horizon_steps), Start(policies)
    if config.has_critics:
        plan, start = _with_critics(config, plan, start, contexts, zoo, seed)
    origin = {"generator": generator.provenance, "critics": config.critics}
    output = out and Output(Path(out), provenance=origin)
    tuned = fleet.train(plan, fam, contexts, start, seed, output)
    if tuned.contexts.shape != contexts.shape:
        raise BadZoo("a tuned policy's numbers stopped being finite; lower the learning rates")
    before, after = (returns(p, fam, contexts, 10, REPORT_SEED) for p in (policies, tuned.finals))
    result = Tuned(tuned, policies, before, after)
    for i in np.flatnonzero(after.mean(axis=1) < before.mean(axis=1)):
        warnings.warn(
            f"the policy tuned at {contexts[i].tolist()} returns {after[i].mean():.1f}, its start "
            f"returned {before[i].mean():.1f}; both are kept",
            stacklevel=2,
        )
    return result


# --- Where critics start ------------------------------------------------------------------
def _with_critics(
    config: TuneConfig, plan: Plan, start: Start, contexts, zoo: Zoo | None, seed: int
) -> tuple[Plan, Start]:
    """The start with critics, and the plan that leaves the same reward out as they do; raises
    BadSetting where critics come from a zoo and there is none."""
    start, cfg = start._replace(critics_from=config.critics), plan.cfg
    if config.critics in FRESH:
        return plan, start
    if zoo is None:
        raise BadSetting(
            f"critics={config.critics!r} come from the experts' zoo; give the zoo the "
            "generator was fitted on, or take critics='warm-up'"
        )
    if config.critics == "generated":
        made = critics.fit(HypLatentConfig(steps=3_000), zoo, seed)
    else:
        made = (critics.interpolated if config.critics == "interpolated" else critics.nearest)(zoo)
    log_alpha = np.full(len(contexts), np.log(0.05), np.float32)
    if zoo.log_alpha is not None:  # the nearest expert's
        gaps = zoo.family.context.distance(contexts, zoo.contexts)
        log_alpha = zoo.log_alpha[gaps.argmin(axis=1)]
    twins = made.generate(contexts, seed)
    usual = zoo.training.usual_reward
    start = start._replace(critics=twins, log_alpha=log_alpha, usual_reward=usual)
    if cfg.learner.usual_reward(cfg) != usual:
        cfg = replace(cfg, usual_reward=usual)
    if config.critics == "fitted":
        start = _judged(config, cfg, start, contexts, zoo, seed)
    return replace(plan, cfg=cfg), start


def _judged(config: TuneConfig, cfg: Config, start: Start, contexts, zoo: Zoo, seed: int) -> Start:
    """The start whose critics were fitted on what neighboring experts do."""
    order = zoo.family.context.distance(contexts, zoo.contexts).argsort(axis=1)
    order = order[:, : config.neighbors]
    known = np.unique(order)
    rows = experience(zoo.finals[known], zoo.family, zoo.contexts[known], seed=seed)
    own = np.stack([rows[np.searchsorted(known, ids)].reshape(-1, rows.shape[-1]) for ids in order])
    effort = EXPERTS._replace(updates=config.judge_updates, seed=seed)
    return fit_critics(cfg, zoo.family, contexts, start, own, effort)


def _known(generator: Generator, zoo: Zoo) -> Zoo:
    """The zoo's experts that the generator has seen; raises BadZoo where it has seen none."""
    if (zoo.family, zoo.spec) != (generator.family, generator.spec):
        raise BadZoo(
            f"the generator writes {generator.family.name} policies of {generator.spec}; the zoo "
            f"holds {zoo.family.name} policies of {zoo.spec}"
        )
    gaps = zoo.family.context.distance(zoo.contexts, generator.trained_contexts)
    seen = gaps.min(axis=1) < 1e-6
    if not seen.any():
        raise BadZoo("the generator has seen no expert of this zoo; give the one it was fitted on")
    return zoo.only(zoo.contexts[seen])
