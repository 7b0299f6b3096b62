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
from collections.abc import Callable
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
from hyperpolicy.generate.tune_config import TuneConfig
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
    plan = config.plan(generator.spec, fam.horizon_steps)
    start = Start(policies)
    if config.has_critics:
        needs = Needs(config, plan.cfg, policies, contexts, zoo, seed)
        start = START[config.critics](needs)
        # critics that left something out, and another start is another run
        plan = _leaving_out(plan, start)
        start = start._replace(critics_from=config.critics)
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


def _leaving_out(plan: Plan, start: Start) -> Plan:
    """The plan whose critics leave out what the start's do."""
    if start.critics is None or plan.cfg.learner.usual_reward(plan.cfg) == start.usual_reward:
        return plan
    return replace(plan, cfg=replace(plan.cfg, usual_reward=start.usual_reward))


# --- Where critics start ------------------------------------------------------------------
class Needs(NamedTuple):
    """What the start of the critics is made of."""

    config: TuneConfig
    cfg: Config
    """The learner's."""
    policies: Policies
    contexts: Float[np.ndarray, "n c"]
    zoo: Zoo | None
    seed: int


def _fresh(needs: Needs) -> Start:
    return Start(needs.policies)


def _from_zoo(pick: Callable) -> Callable:
    def start(needs: Needs) -> Start:
        zoo = _needed(needs)
        picked = pick(zoo, needs.contexts, needs.seed)
        log_alpha = _log_alpha(zoo, needs.contexts)
        return Start(needs.policies, picked, log_alpha, zoo.usual_reward)

    return start


def _fitted(needs: Needs) -> Start:
    zoo, contexts, seed = _needed(needs), needs.contexts, needs.seed
    fam, cfg = zoo.family, needs.cfg
    near = critics.nearest(zoo).generate(contexts)
    start = Start(needs.policies, near, _log_alpha(zoo, contexts), zoo.usual_reward)
    if cfg.learner.usual_reward(cfg) != zoo.usual_reward:
        cfg = replace(cfg, usual_reward=zoo.usual_reward)
    order = fam.context.distance(contexts, zoo.contexts).argsort(axis=1)
    order = order[:, : needs.config.neighbors]
    known = np.unique(order)
    rows = experience(zoo.finals[known], fam, zoo.contexts[known], seed=seed)
    own = np.stack([rows[np.searchsorted(known, ids)].reshape(-1, rows.shape[-1]) for ids in order])
    effort = EXPERTS._replace(updates=needs.config.judge_updates, seed=seed)
    return fit_critics(cfg, fam, contexts, start, own, effort)


START: dict[str, Callable] = {
    "random": _fresh,
    "warm-up": _fresh,
    "nearest": _from_zoo(lambda zoo, c, seed: critics.nearest(zoo).generate(c)),
    "interpolated": _from_zoo(lambda zoo, c, seed: critics.interpolated(zoo).generate(c)),
    "generated": _from_zoo(
        lambda zoo, c, seed: critics.fit(HypLatentConfig(steps=3_000), zoo, seed).generate(c, seed)
    ),
    "fitted": _fitted,
}


def _needed(needs: Needs) -> Zoo:
    """The zoo; raises BadSetting where critics come from one and there is none."""
    if needs.zoo is None:
        raise BadSetting(
            f"critics={needs.config.critics!r} come from the experts' zoo; give the zoo the "
            "generator was fitted on, or take critics='warm-up'"
        )
    return needs.zoo


def _known(generator: Generator, zoo: Zoo) -> Zoo:
    """The zoo's experts that the generator has seen.

    Raises:
        BadZoo: none, or they are of another family or architecture.
    """
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


def _log_alpha(zoo: Zoo, contexts) -> Float[np.ndarray, " n"]:
    """The temperature of each context's nearest expert."""
    nearest = zoo.family.context.distance(contexts, zoo.contexts).argmin(axis=1)
    if zoo.log_alpha is None:
        return np.full(len(nearest), np.log(0.05), np.float32)
    return zoo.log_alpha[nearest]
