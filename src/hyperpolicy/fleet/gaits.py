"""Rhythmic gaits: open-loop sine waves, found by cross-entropy search, that fill a replay with
motion where random actions would fill it with twitches.

Action j of a gait at time t is offset_j + amplitude_j · sin(2π · frequency · t + phase_j), clipped
to [−1, 1]. A gait does not know its task: every rollout is scored for all contexts at once, by
relabeling. The best few for each context are kept, and all of them are parents of the next round
(Rubinstein & Kroese (2004), "The Cross-Entropy Method").
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track

from hyperpolicy import files
from hyperpolicy.envs import Family, Worlds
from hyperpolicy.errors import BadSetting
from hyperpolicy.fleet.schedule import Schedule

FREQUENCIES_HZ = (0.5, 4.0)
OFFSET = 0.3


@dataclass(frozen=True)
class GaitConfig:
    population: int = 400
    """Gaits tried in a round."""
    rounds: int = 12
    elites: int = 3
    """Gaits kept for each context."""
    shrink: float = 0.85
    """Factor of the mutations' size from round to round."""
    noise: float = 0.1
    """Standard deviation of the noise on the actions that fill the replay."""

    def __post_init__(self):
        if not 1 <= self.elites <= self.population or self.rounds < 1:
            raise BadSetting(
                f"population={self.population}, rounds={self.rounds}, elites={self.elites}; give "
                "at least one round, and no more elites than gaits"
            )

    def env_steps(self, family: Family) -> int:
        """Environment steps a search spends."""
        return self.population * self.rounds * family.horizon_steps


def search(
    cfg: GaitConfig, family: Family, contexts: Float[np.ndarray, "k c"], seed: int = 0
) -> tuple[Float[np.ndarray, "k m d"], Float[np.ndarray, "k m"]]:
    """The best gaits for each context, best first, and their returns in one episode."""
    rng = np.random.default_rng(seed)
    kept = np.zeros((len(contexts), 0, 1 + 3 * family.action_size))
    scores = np.zeros((len(contexts), 0))
    size = _mutations(family.action_size)
    gaits = _random(rng, cfg.population, family.action_size)
    console = Console(stderr=True)
    for _ in track(range(cfg.rounds), f"gaits for {len(contexts)} contexts", console=console):
        found = _returns(family, contexts, gaits, int(rng.integers(2**30)))
        tried = np.broadcast_to(gaits, (len(contexts), *gaits.shape))
        kept = np.concatenate([kept, tried], axis=1)
        scores = np.concatenate([scores, found], axis=1)
        best = np.argsort(-scores, axis=1)[:, : cfg.elites]
        scores = np.take_along_axis(scores, best, axis=1)
        kept = np.take_along_axis(kept, best[:, :, None], axis=1)
        parents = kept.reshape(-1, kept.shape[-1])
        chosen = parents[rng.integers(len(parents), size=cfg.population)]
        gaits = chosen + size * rng.normal(size=chosen.shape)
        size = cfg.shrink * size
    return kept, scores


def fill(
    cfg: GaitConfig,
    family: Family,
    pools: list[Float[np.ndarray, "_ c"]],
    schedule: Schedule,
    seeds: Int[np.ndarray, " n"],
    out: Path | None = None,
) -> Float[np.ndarray, "t n e a"]:
    """Actions of n learners' worlds while their replay fills. Each learner has a search of its own,
    over its own contexts; its worlds play the best gaits for theirs.

    The searches are kept in `out`, for a run that resumes.
    """
    path = None if out is None else out / "gaits.safetensors"
    found = {} if path is None or not path.exists() else files.load_arrays(path)[0]
    actions = []
    for i, (pool, seed) in enumerate(zip(pools, seeds.tolist(), strict=True)):
        if f"gaits-{i}" not in found:
            found[f"gaits-{i}"], found[f"returns-{i}"] = search(cfg, family, pool, seed)
            if path is not None:
                files.save_arrays(path, found, overwrite=True)
        best = found[f"gaits-{i}"][np.arange(schedule.num_envs) % len(pool)]
        turns = np.stack([np.roll(own, -j, axis=0) for j, own in enumerate(best)])
        actions.append(perform(cfg, family, turns, schedule.fill_steps, seed))
    return np.stack(actions, axis=1).astype(np.float32)


def perform(
    cfg: GaitConfig,
    family: Family,
    gaits: Float[np.ndarray, "w m d"],
    num_steps: int,
    seed: int = 0,
) -> Float[np.ndarray, "t w a"]:
    """Actions for w worlds: each plays its gaits in turn, an episode each, with noise."""
    rng = np.random.default_rng(seed)
    episodes = -(-num_steps // family.horizon_steps)
    turns = [
        _actions(family, gaits[:, i % gaits.shape[1]], family.horizon_steps)
        for i in range(episodes)
    ]
    actions = np.concatenate(turns)[:num_steps]
    return np.clip(actions + cfg.noise * rng.normal(size=actions.shape), -1.0, 1.0)


def filled_by(start: str, cfg: GaitConfig | None) -> str:
    """What a run's settings say of its start."""
    return start if cfg is None else f"{start}, filled by {cfg}"


# --- A gait is d = 1 + 3a numbers: log frequency, phases, amplitudes, offsets -------------
def _random(rng, n: int, a: int) -> Float[np.ndarray, "n d"]:
    return np.concatenate(
        [
            rng.uniform(*np.log(FREQUENCIES_HZ), (n, 1)),
            rng.uniform(0.0, 2.0 * np.pi, (n, a)),
            rng.uniform(0.0, 1.0, (n, a)),
            rng.uniform(-OFFSET, OFFSET, (n, a)),
        ],
        axis=1,
    )


def _mutations(a: int) -> Float[np.ndarray, " d"]:
    """Standard deviations of the first round's mutations."""
    return np.concatenate([[0.1], np.full(a, 0.4), np.full(a, 0.15), np.full(a, 0.08)])


def _actions(family: Family, gaits: Float[np.ndarray, "n d"], steps: int):
    """Actions [t, n, a] of n gaits."""
    frequency = np.exp(gaits[:, :1])
    phase, amplitude, offset = np.split(gaits[:, 1:], 3, axis=1)
    time_s = family.dt_s * np.arange(steps)[:, None, None]
    return np.clip(offset + amplitude * np.sin(2 * np.pi * frequency * time_s + phase), -1.0, 1.0)


def _returns(family: Family, contexts, gaits, seed: int) -> Float[np.ndarray, "k n"]:
    """Return of every gait's first episode under every context."""
    n = len(gaits)
    worlds = Worlds(family, np.repeat(contexts[:1], n, axis=0), seed=seed + np.arange(n))
    worlds.reset()
    total, alive = np.zeros((len(contexts), n)), np.ones(n, bool)
    for action in _actions(family, gaits, family.horizon_steps):
        step = worlds.step(action)
        total += alive * family.reward(action, step.outcome, contexts[:, None])
        alive &= ~step.terminated
    return total
