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

All but the first two need the zoo the generator was fitted on. With `learner="ppo"` there are no
critics of actions: a value network learns first, while the actor rests. Interactions at the tuned
contexts count from the first one, whatever they are used for.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy import fleet, jobs, seeds
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import Start
from hyperpolicy.fleet.judging import fit_critics
from hyperpolicy.generate import critics
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.tune_config import TuneConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.policies import Policies
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.rollout import experience, returns
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


@jobs.alone
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
    train = LEARNERS[config.learner]
    tuned = train(config, fam, policies, contexts, zoo, generator, seed, out)
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


def _td_sac(config: TuneConfig, fam, policies, contexts, zoo, generator, seed, out) -> Zoo:
    schedule, cfg = config.schedule(), learner(config, generator)
    start = START[config.critics](config, cfg, policies, contexts, zoo, generator, seed)
    if isinstance(start, Start):  # with critics that left something out
        cfg = replace(cfg, usual_reward=start.usual_reward)
        start = start._replace(critics_from=config.critics)  # another start is another run
    origin = {"generator": generator.provenance, "critics": config.critics}
    return fleet.train(cfg, fam, contexts, schedule, start, seed, out, origin)


def _ppo(config: TuneConfig, fam, policies, contexts, zoo, generator, seed, out) -> Zoo:
    if config.critics != "warm-up":
        raise BadSetting(
            f"critics={config.critics!r} with learner='ppo', which has none; leave them out"
        )
    cfg = replace(config.ppo, width=width_of(generator))
    rounds = config.rounds(fam.horizon_steps)
    origin = {"generator": generator.provenance}
    return fleet.train_on_policy(cfg, None, fam, contexts, rounds, policies, seed, out, origin)


LEARNERS: dict[str, Callable[..., Zoo]] = {"td-sac": _td_sac, "ppo": _ppo}


def learner(config: TuneConfig, generator: Generator) -> TdSacConfig:
    """The learner's settings for the generator's architecture and the critics' start."""
    cfg = config.sac.of_width(width_of(generator))
    return cfg if config.critics == "warm-up" else replace(cfg, warmup_updates=0)


def width_of(generator: Generator) -> int:
    """Units of each of the two hidden layers.

    Raises:
        BadZoo: hidden layers that are not trained here.
    """
    spec, width = generator.spec, generator.spec.hidden[0]
    if spec.hidden != (width, width) or set(spec.activations) != {"relu"}:
        raise BadZoo(f"fine-tuning takes two equal ReLU layers; this generator writes {spec}")
    return width


# --- Where critics start ------------------------------------------------------------------
def _fresh(config, cfg, policies, contexts, zoo, generator, seed) -> Policies:
    return policies


def _from_zoo(pick: Callable) -> Callable:
    def start(config, cfg, policies, contexts, zoo, generator, seed) -> Start:
        zoo = _needed(config, zoo)
        picked = pick(zoo, contexts, seed)
        return Start(policies, picked, _log_alpha(zoo, contexts), zoo.usual_reward)

    return start


def _fitted(config, cfg, policies, contexts, zoo, generator, seed) -> Start:
    zoo = _needed(config, zoo)
    fam = zoo.family
    near = critics.nearest(zoo).generate(contexts)
    start = Start(policies, near, _log_alpha(zoo, contexts), zoo.usual_reward)
    cfg = replace(cfg, usual_reward=zoo.usual_reward)
    order = fam.context.distance(contexts, zoo.contexts).argsort(axis=1)[:, : config.neighbors]
    known = np.unique(order)
    rows = experience(zoo.finals[known], fam, zoo.contexts[known], seed=seed)
    own = np.stack([rows[np.searchsorted(known, ids)].reshape(-1, rows.shape[-1]) for ids in order])
    return fit_critics(cfg, fam, contexts, start, own, config.judge_updates, seed=seed)


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


def _needed(config: TuneConfig, zoo: Zoo | None) -> Zoo:
    """The zoo; raises BadSetting where critics come from one and there is none."""
    if zoo is None:
        raise BadSetting(
            f"critics={config.critics!r} come from the experts' zoo; give the zoo the generator "
            "was fitted on, or take critics='warm-up'"
        )
    return zoo


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
