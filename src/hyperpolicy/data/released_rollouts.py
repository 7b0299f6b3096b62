"""HyperZero's rollout files ⇄ episodes and what they are worth.

Rezaei-Shoshtari et al. (2023), arXiv:2211.15457, with the released code: `np.save` of a pickled
dict, one file a context, E episodes of T = 1000 steps that nothing but the time limit ends.

    state, next_state   [E, T, o] float64
    action              [E, T, a] float32
    reward              [E, T, 1] float64
    discount            [E, T]    float64, dm_control's, which is 1
    value               [E, T, 1] float32, the expert's first critic; a generator's files lack it
    reward_param        [E, T, 1] the signed target speed
    dynamics_param      [E, T, 1] the length; 0 where every body is the default one
    physics_qpos, _qvel           for plots; not read, and left out of what is written

A context is read from these numbers; the released code reads it from the path. The files hold no
outcomes, which are 0 in episodes that are read: do not relabel them with other contexts.

Nothing in a file is run. The released files are a `defaultdict(list)`, so more than NumPy has to be
known by name; every name that is known stands for a class of this page that only remembers.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.inert_pickle import LAYOUT, load
from hyperpolicy.envs import Family
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadSetting, BadShape

Values = Float[np.ndarray, "n t"] | None
"""What the action of each step is worth; None where nobody said."""
LENGTH = "length"
"""The coordinate that `dynamics_param` tells of."""


# --- Episodes → files ---------------------------------------------------------------------
def write(episodes: Episodes, values: Values, path: str | Path, seed: int = 2) -> list[Path]:
    """The new files of some episodes, one a context, in the folder of their task below `path`.

    They are called as the released code calls them, with a made-up time; `seed` is what the names
    say of the experts' seed. That code finds a context after the first "-" of the whole path, so
    give it a `path` without one.

    Raises:
        BadSetting: episodes that ended by themselves, none, contexts that differ in more than a
            speed and a length, or values that are not finite.
        BadShape: episodes of other lengths than the family's, or not one value a step.
        AlreadyExists: one of the files is there; none is written.
    """
    _check(episodes, values)
    contexts, group = np.unique(episodes.index.context, axis=0, return_inverse=True)
    params = _params(episodes.family, contexts)
    task = episodes.family.name.replace("-", "_")
    made: dict[Path, dict[str, np.ndarray]] = {}
    for i, (margin, length) in enumerate(params.tolist()):
        body = f"dyn_{length}" if length else "dyn_default"
        name = f"{task}_td3_seed_{seed}_overwrite_all-linear-{margin}_{body}__00-00-00_rollout.npy"
        rows = np.flatnonzero(group.ravel() == i)
        own = None if values is None else values[rows]
        made[Path(path) / task / name] = _arrays(list(episodes[rows]), own, margin, length)
    if there := [one for one in made if os.path.lexists(one)]:
        raise AlreadyExists(f"{there[0]} exists; choose another folder or remove it first")
    for place, arrays in made.items():
        files.check_space(place, sum(x.nbytes for x in arrays.values()))
        files.write(place, partial(_save, arrays))
    return list(made)


def _check(episodes: Episodes, values: Values) -> None:
    """Raises what `write` says of episodes and values."""
    family, index = episodes.family, episodes.index
    if not len(episodes) or index.terminated.any():
        raise BadSetting(
            f"{len(episodes)} episodes, {index.terminated.sum()} of which ended by themselves; "
            "give at least one, that the time limit ended: a file cannot say otherwise"
        )
    if (index.length != family.horizon_steps).any():
        raise BadShape(
            f"episodes of {index.length.min()} to {index.length.max()} steps; a file holds "
            f"{family.horizon_steps} of {family.name} each"
        )
    shape = (len(episodes), family.horizon_steps)
    if values is not None and np.shape(values) != shape:
        raise BadShape(f"values have shape {np.shape(values)}; give one a step: {list(shape)}")
    if values is not None and not np.isfinite(values).all():
        raise BadSetting(f"{(~np.isfinite(values)).sum()} values are not finite; leave values out")


def _params(family: Family, contexts: Float[np.ndarray, "k c"]) -> Float[np.ndarray, "k 2"]:
    """`reward_param` and `dynamics_param` of contexts, as `write` has it."""
    speed, length = _columns(family)
    others = [i for i in range(family.context.size) if i not in (speed, length)]
    if (contexts[:, others] != family.context.usual[others]).any():
        names = ", ".join(family.context.names[i] for i in others)
        raise BadSetting(
            f"contexts differ from the usual one in {names}; a file holds "
            f"{family.context.names[speed]} and {LENGTH} alone: leave the others out"
        )
    lengths = np.zeros(len(contexts)) if length is None else contexts[:, length]
    if length is not None and (lengths == family.context.usual[length]).all():
        lengths = np.zeros(len(contexts))
    return np.stack([contexts[:, speed], lengths], axis=1)


def _columns(family: Family) -> tuple[int, int | None]:
    """Which coordinates are the speed, and the length if there is one. Raises BadSetting."""
    speeds, names = family.context.where("reward").tolist(), family.context.names
    if len(speeds) != 1:
        raise BadSetting(
            f"{family.name} has {len(speeds)} coordinates of its reward; HyperZero's files tell of "
            "one, as cheetah-run, walker-walk and finger-spin have it"
        )
    return speeds[0], names.index(LENGTH) if LENGTH in names else None


def _arrays(
    episodes: Sequence[Episode], values: Values, margin: float, length: float
) -> dict[str, np.ndarray]:
    """What a file holds."""
    e, t = len(episodes), len(episodes[0].reward)
    found = {
        "state": np.stack([one.obs[:-1] for one in episodes]).astype(np.float64),
        "next_state": np.stack([one.obs[1:] for one in episodes]).astype(np.float64),
        "action": np.stack([one.action for one in episodes]),
        "reward": np.stack([one.reward for one in episodes])[..., None].astype(np.float64),
        "discount": np.ones((e, t)),
        "reward_param": np.full((e, t, 1), margin),
        "dynamics_param": np.full((e, t, 1), length),
    }
    return found if values is None else found | {"value": values[..., None].astype(np.float32)}


def _save(arrays: dict[str, np.ndarray], path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.array(arrays, object), allow_pickle=True)


# --- Files → episodes ---------------------------------------------------------------------
def read(path: str | Path, family: Family) -> tuple[Episodes, Values]:
    """The episodes of a file and their values; who made them is the file's name, and seeds, which
    no file tells, are numbers from 0 on.

    Coordinates but the speed and the length have their usual values, and so has a length of 0.

    Raises:
        BadFile: it is missing, damaged, too large, holds something else, or does not fit `family`.
        BadSetting: a family whose reward has not one coordinate.
    """
    speed, length = _columns(family)
    path = Path(path)
    arrays = _checked(load(path), path, family)
    margin, long = (_constant(arrays, name, path) for name in ("reward_param", "dynamics_param"))
    context = family.context.usual.copy()
    context[speed] = margin
    if long != 0:
        if length is None:
            raise BadFile(
                f"{path} is of bodies of length {long:g}; {family.name} has no {LENGTH}: name the "
                "family it is of"
            )
        context[length] = long
    try:
        found = Episodes.of(family, _episodes(arrays, context, family, path.name))
    except (BadContext, BadShape) as error:
        raise BadFile(f"{path}: {error}") from None
    value = arrays.get("value")
    return found, None if value is None else value[..., 0].astype(np.float32)


def read_all(folder: str | Path, family: Family) -> tuple[Episodes, Values]:
    """The episodes of all `.npy` files in a folder and below, in the order of their paths; their
    policies are the files' numbers. Raises as `read`, and BadFile where none is there, or some
    files have values and others none."""
    paths = sorted(one for one in Path(folder).rglob("*.npy") if not one.name.startswith("."))
    if not paths:
        raise BadFile(f"{folder} holds no .npy files; give the folder of one task's rollouts")
    found = [read(path, family) for path in paths]
    labeled = [one for _, one in found if one is not None]
    if len(labeled) not in (0, len(found)):
        path = paths[[one is None for _, one in found].index(True)]
        raise BadFile(f"{path} holds no values and others do; read experts and generators apart")
    numbered = [one._replace(policy=i) for i, (episodes, _) in enumerate(found) for one in episodes]
    return Episodes.of(family, numbered), np.concatenate(labeled) if labeled else None


def _constant(arrays: dict[str, np.ndarray], name: str, path: Path) -> float:
    """The number that all steps have."""
    first = float(arrays[name].flat[0])
    if (arrays[name] != first).any():
        raise BadFile(f"{path}: {name} is not the same at all steps; a file holds one context")
    return first


def _episodes(
    arrays: dict[str, np.ndarray], context: Float[np.ndarray, " c"], family: Family, name: str
) -> list[Episode]:
    state, after, action, reward = (
        arrays[key].astype(np.float32) for key in ("state", "next_state", "action", "reward")
    )
    if (state[:, 1:] != after[:, :-1]).any():
        raise BadShape("a state is not the next state of the step before; is it cut or shuffled?")
    e, t = action.shape[:2]
    return [
        Episode(
            context=context,
            obs=np.concatenate([state[i], after[i, -1:]]),
            action=action[i],
            reward=reward[i, :, 0],
            outcome=np.zeros((t, family.outcome_size), np.float32),
            terminated=False,
            truncated=True,
            seed=i,
            policy=0,
            made_by=name,
        )
        for i in range(e)
    ]


def _checked(arrays: dict[str, np.ndarray], path: Path, family: Family) -> dict[str, np.ndarray]:
    """The arrays that are read, once their shapes fit the family and each other."""
    o, a = (family.obs_size,), (family.action_size,)
    shapes: dict[str, tuple[int, ...]] = {"state": o, "next_state": o, "action": a, "discount": ()}
    shapes |= dict.fromkeys(("reward", "reward_param", "dynamics_param", "value"), (1,))
    if missing := [name for name in shapes if name not in arrays and name != "value"]:
        raise BadFile(f"{path} lacks {', '.join(missing)}; {LAYOUT}")
    e = (*arrays["state"].shape, 0)[0]
    for name, width in shapes.items():
        want = (e, family.horizon_steps, *width)
        if name in arrays and (arrays[name].shape != want or not e):
            raise BadFile(
                f"{path}: {name} has shape {list(arrays[name].shape)}; episodes of {family.name} "
                f"take [E, {', '.join(map(str, want[1:]))}], the same E of everything: name the "
                "family it is of"
            )
        if name in arrays and not (abs(arrays[name]) <= np.finfo(np.float32).max).all():
            raise BadFile(f"{path}: {name} holds numbers that are not finite in single precision")
    if (arrays["discount"] != 1).any():
        raise BadFile(f"{path}: a discount is not 1; episodes that end early are not HyperZero's")
    return {name: arrays[name] for name in shapes if name in arrays}
