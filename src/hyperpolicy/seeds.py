"""Every seed and stream of randomness: who draws from which number.

A user's seed is any whole number ≥ 0. World seeds of training lie below 2³¹, those of evaluation
at or above it, so that no evaluation starts where a training run did. Worlds draw from NumPy's
counter-based generator, learners from JAX keys; nothing here imports JAX before a key is asked for.
"""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from jaxtyping import Int

from hyperpolicy.errors import BadSetting

HALF = 2**31
"""World seeds below it are for training, those from it to 2³² for evaluation."""
LEARNERS = 10_000
"""Learners of one run have the numbers LEARNERS · seed + i."""
EVALUATION_WHILE_TRAINING = 7_000_000
"""The seed of evaluations during training; tables use others."""


def check(seed) -> int:
    """`seed` as an int; BadSetting where it is not a whole number ≥ 0."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise BadSetting(f"seed={seed!r}; give a whole number, 0 or more")
    return int(seed)


def small(seed) -> int:
    """A number below 2³¹: the seed itself, or a hash of a larger one."""
    seed = check(seed)
    return seed if seed < HALF else int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)


def numbers(seeds: Sequence[int]) -> Int[np.ndarray, " n"]:
    """`small` of each, for the fits of several seeds side by side."""
    return np.array([small(seed) for seed in seeds], np.int32)


# --- Learners ------------------------------------------------------------------------------
def key(seed):
    """The JAX key of a seed."""
    import jax

    return jax.random.key(small(seed))


def learners(seed: int, n: int) -> Int[np.ndarray, " n"]:
    """A number below 2³¹ for each of a run's n learners: networks, exploration, worlds."""
    first = LEARNERS * check(seed)
    if first + n > HALF:
        first = small(first) % (HALF - n)
    return first + np.arange(n)


# --- Worlds --------------------------------------------------------------------------------
def worlds(seed: int, n: int) -> Int[np.ndarray, " n"]:
    """The seeds of n worlds that are made together, for training and play."""
    return (np.arange(n) + 1_000_003 * small(seed)) % HALF


def worlds_of_learners(own: Int[np.ndarray, " n"], e: int) -> Int[np.ndarray, " ne"]:
    """The seeds of e worlds for each learner, learner by learner."""
    return (own[:, None] * 1009 + np.arange(e)).ravel() % HALF


def episodes(seed: int, e: int) -> Int[np.ndarray, " e"]:
    """The world seeds of an evaluation's e episodes: 2³¹ + (1,000,003 · seed + j) mod 2³¹."""
    return HALF + (1_000_003 * small(seed) + np.arange(e, dtype=np.int64)) % HALF


def of_episode(seed: int, episode: int) -> np.random.Generator:
    """What a world's episode is drawn from, a function of seed and episode alone."""
    counter = np.array([0, 0, 0, episode], np.uint64)
    bits = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=counter)
    return np.random.Generator(bits)
