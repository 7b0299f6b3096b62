"""Prompt-DT, told a demonstration: its blocks are the prompt's steps, and so are the states after
the success, which is all that is told of rewards."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hyperpolicy.baselines import decision_model
from hyperpolicy.baselines.decider import Decider
from hyperpolicy.baselines.decision_model import DecisionModel
from hyperpolicy.data.demonstrations import ENDING_STATES, NUM_BLOCKS, Demonstrations
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.recipes.amt_hyp.bench import Bench
from hyperpolicy.recipes.amt_hyp.data import record
from hyperpolicy.recipes.stage import make_once, timed

HISTORY_SEED = 21
"""Of the experts' episodes that it learns from."""
SUCCESS = np.eye(NUM_BLOCKS + ENDING_STATES, dtype=np.float32)[NUM_BLOCKS - 1]
"""Reward of each step of a prompt: 1 where the success is."""


@dataclass(frozen=True)
class PromptDt:
    """A fitted model that is told demonstrations."""

    model: DecisionModel

    def actor(self, given: Demonstrations) -> Decider:
        return self.model.actor(prompts(given))


def steps(
    given: Demonstrations,
) -> tuple[Float[np.ndarray, "d l o"], Float[np.ndarray, "d l a"]]:
    """Observations and actions of demonstrations as so many steps: the first action of each block,
    and none where a demonstration ends."""
    family, d = given.family, len(given)
    o, a = family.obs_size, family.action_size
    blocks = given.opening.reshape(d, NUM_BLOCKS, -1)
    ending = given.ending.reshape(d, ENDING_STATES, o)
    rest = np.zeros((d, ENDING_STATES, a), np.float32)
    obs = np.concatenate([blocks[..., :o], ending], axis=1)
    return obs, np.concatenate([blocks[..., o : o + a], rest], axis=1)


def prompts(given: Demonstrations) -> Prompts:
    """A prompt for each demonstration."""
    obs, action = steps(given)
    d, l = obs.shape[:2]
    reward, t = np.tile(SUCCESS, (d, 1)), np.tile(np.arange(l), (d, 1))
    return Prompts(given.family, given.contexts, obs, action, reward, to_go(reward), t)


def to_go(reward: Float[np.ndarray, "d l"]) -> Float[np.ndarray, "d l"]:
    """What is still to come at each step."""
    return reward[:, ::-1].cumsum(axis=1)[:, ::-1].copy()


def as_episodes(given: Demonstrations) -> Episodes:
    """What prompts are cut from while it learns."""
    made, (obs, action) = [], steps(given)
    for context, seen, done in zip(given.contexts, obs, action, strict=True):
        l = len(done)
        ended = np.concatenate([seen, seen[-1:]])
        outcome = np.zeros((l, given.family.outcome_size), np.float32)
        made.append(Episode(context, ended, done, SUCCESS, outcome, False, True, 0, 0, "shown"))
    return Episodes.of(given.family, made)


def fitted(b: Bench) -> list[PromptDt]:
    """The first seed's, fitted on episodes of the final experts."""
    preset, zoo = b.preset, b.data.zoo
    out = b.out / "fits/prompt-dt"
    path, history = out / "model.safetensors", b.out / "data/history"

    def make_history() -> None:
        how, family = (preset.episodes, HISTORY_SEED), zoo.family
        assert isinstance(family, MetaWorld)  # the training configurations'
        record(preset.data, zoo.finals, family, zoo.contexts, *how).save(history)

    def fit() -> None:
        episodes = Episodes.load(make_once(history, make_history))
        shown = as_episodes(b.data.train)
        seed = preset.seeds[0]
        run = out / "run"
        decision_model.fit(preset.decision, episodes, zoo.contexts, shown, seed, run).save(path)

    make_once(path, fit, timed(b.minutes, "fit, prompt-dt"))
    return [PromptDt(DecisionModel.load(path))]
