"""Decision Transformer and Prompt-DT as methods: fitted models, and fine-tuning.

The algorithm is on `decision_transformer.py`, who acts on `decider.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from hyperpolicy.baselines import disk
from hyperpolicy.baselines.decider import Decider
from hyperpolicy.baselines.decision_transformer import (
    Data,
    DecisionConfig,
    draw,
    init,
    loss,
    optimizer,
    prepare,
    seen,
    train,
)
from hyperpolicy.baselines.disk import Fitted
from hyperpolicy.data import by_task
from hyperpolicy.data.by_task import Trajectories
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.generate.behavior import Moments
from hyperpolicy.nets.decision import DecisionNet, Steps
from hyperpolicy.nets.transformer import Dropout
from hyperpolicy.provenance import library_versions
from hyperpolicy.run.job import Output


# --- Fitting ------------------------------------------------------------------------------
def fit(
    config: DecisionConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    shown: Episodes | None = None,
    seed: int = 0,
    out: str | Path | Output | None = None,
) -> "DecisionModel":
    """A model of the tasks `contexts`; errors as `fit_seeds`."""
    return fit_seeds(config, episodes, contexts, shown, (seed,), out)[0]


def fit_seeds(
    config: DecisionConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    shown: Episodes | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path | Output | None = None,
) -> list["DecisionModel"]:
    """One model for each seed, trained side by side on `episodes` of the tasks `contexts`, prompted
    by pieces of `shown`, the same episodes unless others are given.

    With `out` a killed fit resumes there. A seed whose numbers stop being finite is left out, with
    a warning.

    Raises:
        BadSetting: a task without episodes, episodes without rewards, shorter than a prompt's piece
            or all shorter than the context, or of another family than `shown`; numbers of every
            seed stopped being finite.
    """
    family = episodes.family
    data, moments = prepare(config, episodes, contexts, shown)
    known = {"config": asdict(config), "data": loop.digest(data), "family": family.record()}
    run = loop.FitJob(config.name, tuple(seeds), config.steps, Output.of(out), known)
    about = {"versions": library_versions(), "contexts": np.asarray(contexts).tolist()}
    about["episodes"] = len(episodes)
    return [
        DecisionModel(family, config, net, moments, about | {"seed": run.seeds[n]})
        for n, net in train(config, family, run, data).items()
    ]


# --- What was fitted ----------------------------------------------------------------------
@dataclass(frozen=True)
class DecisionModel:
    """A fitted network; `actor` makes who acts, told of its tasks."""

    family: Family
    config: DecisionConfig
    net: DecisionNet
    moments: Moments
    provenance: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Numbers that were trained."""
        return disk.size(self.net)

    def actor(self, given, n: int | None = None) -> "Decider":
        """Who acts in n tasks, told `given` of each: Prompts; contexts [n, c]; or None, in `n`
        tasks, where it is told nothing.

        Raises:
            BadSetting: it is told something else than it was fitted on, or prompts of another
                length or family.
        """
        cfg, told = self.config, self.config.told
        kind = "nothing" if given is None else "prompt" if isinstance(given, Prompts) else "context"
        if kind != told:
            raise BadSetting(
                f"this model was fitted on being told {_SAID[told]}; it cannot be given "
                f"{_SAID[kind]}"
            )
        if isinstance(given, Given) and given.family.name != self.family.name:
            raise BadSetting(
                f"{given.name} of {given.family.name} for a model of {self.family.name}"
            )
        column = "nothing"
        prompt, numbers = None, np.zeros((n or 1, 0), np.float32)
        if isinstance(given, Prompts):
            if given.steps != cfg.pieces * cfg.piece_steps:
                raise BadSetting(
                    f"prompts of {given.steps} steps; this model was fitted on "
                    f"{cfg.pieces * cfg.piece_steps}"
                )
            prompt, numbers = _read(self, given), np.zeros((len(given), 0), np.float32)
            column = f"{given.steps} expert steps of the test task"
        elif given is not None:
            known = given if isinstance(given, Contexts) else Contexts(self.family, given)
            numbers = np.asarray(self.family.context.encode(known.contexts, np), np.float32)
            column = Contexts.column
        return Decider(self.family, cfg, self.net, self.moments, prompt, numbers, cfg.fed, column)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        tree = self.net, self.moments
        return disk.save(
            path, self.config.name, Fitted(self.family, self.config, tree, self.provenance)
        )

    @classmethod
    def load(cls, path: str | Path) -> "DecisionModel":
        """The model in a file. Raises BadFile: it holds none, or is damaged."""

        def blank(family, cfg):
            o = jnp.zeros(family.obs_size)
            return init(cfg, family, jax.random.key(0)), Moments(o, o)

        found = disk.load(path, DecisionConfig.name, DecisionConfig, blank)
        net, moments = found.tree
        return cls(found.family, found.config, net, moments, found.provenance)


_SAID = {"prompt": "prompts", "nothing": "nothing", "context": "contexts"}


def _read(model: DecisionModel, given: Prompts) -> Steps:
    """Prompts as the network sees them."""
    mean, scale = map(np.asarray, model.moments)
    obs, to_go = (given.obs - mean) * scale, given.to_go / model.config.scale
    there = np.ones(given.reward.shape, bool)
    return Steps(
        *map(jnp.asarray, (np.float32(to_go), np.float32(obs), given.action, given.t, there))
    )


# --- Fine-tuning --------------------------------------------------------------------------
def finetune(
    model: "DecisionModel",
    episodes: Episodes,
    contexts: Float[np.ndarray, "n c"],
    steps: int = 10,
    batch: int = 256,
    rate: float = 1e-4,
    seed: int = 0,
) -> "Decider":
    """The actor of n test tasks whose networks took `steps` more gradient steps on `episodes` of
    their task, each from the model's own weights: MT-BC-Finetune. Sequences are as long as a
    prompt, which is what the method is given (published: 10 steps of 256, or 100 of 1,280).

    Raises:
        BadSetting: a task without episodes; a model that is told prompts or contexts.
    """
    cfg = model.config
    if cfg.told != "nothing":
        raise BadSetting(
            f"this model is told a {cfg.told}; fine-tuning is for one that is told nothing"
        )
    by_task.check_family(model.family, episodes)
    short = replace(cfg, context=cfg.pieces * cfg.piece_steps, tasks=1, each=batch)
    found = by_task.trajectories(episodes, contexts)
    found = jax.tree.map(jnp.asarray, seen(cfg, model.moments, found))
    tx = optimizer(rate)

    def tune(own: Trajectories, key):
        one = jax.tree.map(lambda x: x[None], own)
        data = Data(one, one, jnp.zeros((1, 0)))

        def step(i, carry):
            net, adam = carry
            key_rows, key_drop = jax.random.split(jax.random.fold_in(key, i))
            rows, prompt, action = draw(short, data, key_rows)
            drop = Dropout(jax.random.split(key_drop, len(action)), cfg.dropout)
            grads = jax.grad(loss)(net, rows, prompt, action, drop)
            updates, adam = tx.update(grads, adam, net)
            return optax.apply_updates(net, updates), adam

        net = jax.tree.map(jnp.asarray, model.net)
        return jax.lax.fori_loop(0, steps, step, (net, tx.init(net)))[0]

    keys = jax.random.split(jax.random.key(seed), len(found.length))
    nets = jax.jit(lambda found, keys: jax.lax.map(lambda xs: tune(*xs), (found, keys)))(
        found, keys
    )
    text = f"{cfg.pieces * cfg.piece_steps}-step sequences of the test task, {steps} gradient steps"
    return replace(model.actor(None, len(found.length)), net=nets, tuned=True, column=text)
