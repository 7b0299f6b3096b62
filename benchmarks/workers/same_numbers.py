"""Plays shipped zoos and generators: `make` keeps initial states and all numbers in a file, `check`
begins from these states and compares. Runs on this code and on earlier code."""

import sys
import warnings
from pathlib import Path

import numpy as np

import hyperpolicy as hp

STEPS, POLICIES = 200, 6


def cases(root: Path):
    """(name, family, contexts, policies) of everything that is compared."""
    for header in sorted((root / "zoos").glob("*/*/zoo.json")):
        zoo = hp.Zoo.load(header.parent)
        rows = np.linspace(0, len(zoo.contexts) - 1, min(POLICIES, len(zoo.contexts))).astype(int)
        name = "/".join(header.parts[-3:-1])
        yield name, family_of(zoo.family), zoo.contexts[rows], zoo.finals[rows]
    for name in ("cheetah-vel", "ant-dir"):
        test = hp.family(name).grid("macaw").split("full").test
        yield f"generator {name}", hp.family(name), test, hp.load(name).generate(test, seed=0)
    shown = hp.Demonstrations.load(root / "zoos/metaworld/amt-hyp/demonstrations.safetensors")
    shown = shown[np.linspace(0, len(shown) - 1, POLICIES).astype(int)]
    policies = hp.load("metaworld").generate(shown, seed=0)
    yield "generator metaworld", hp.family("metaworld"), shown.contexts.astype(float), policies


def family_of(family):
    """Earlier zoos held their family's name."""
    return hp.family(family) if isinstance(family, str) else family


def play(family, contexts, policies, start: dict | None) -> tuple[dict, dict]:
    """The initial state, and the numbers of each policy's first episode, zeros after its end."""
    worlds = family.worlds(contexts, seed=11)
    obs = worlds.reset()
    if start is not None:
        worlds.restore(start)
        obs = worlds.obs.copy()
    start, alive, steps = worlds.snapshot(), np.ones(len(contexts), bool), []
    for _ in range(min(family.horizon_steps, STEPS)):
        action = policies.act(obs)
        step = worlds.step(action)
        row = action, step.next_obs, step.reward[:, None], step.outcome
        steps.append(np.where(alive[:, None], np.concatenate(row, axis=1), 0.0))
        alive = alive & ~(step.terminated | step.truncated)
        obs = step.obs
    at = family.action_size + family.obs_size
    numbers = np.stack(steps)
    found = {"weights": policies.weights, "steps": numbers, "returns": numbers[..., at].sum(0)}
    return start, found


def main(mode: str, record: str, root: str) -> None:
    kept = {} if mode == "make" else dict(np.load(record))
    for name, *case in cases(Path(root)):
        key = f"{name}:start:"
        start = {k.removeprefix(key): x for k, x in kept.items() if k.startswith(key)}
        start, found = play(*case, start or None)
        if mode == "make":
            kept |= {key + k: x for k, x in start.items()}
            kept |= {f"{name}:{k}": x for k, x in found.items()}
        else:
            equal = all(np.array_equal(kept[f"{name}:{k}"], x) for k, x in found.items())
            told = "yes" if equal else "NO"
            print(f"{name}\t{len(case[1])}\t{told}\t{found['returns'].mean():.2f}", flush=True)
    if mode == "make":
        np.savez(record, **kept)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
