"""How many environment steps a second do Worlds do, observations and rewards included, against
Gymnasium's SyncVectorEnv and AsyncVectorEnv?

    python benchmarks/worlds.py [--quick]

The vector environments hold our own single environment (the same task), and Gymnasium's
HalfCheetah-v5 or Ant-v5 (the same model and sub-steps; no code of ours).
"""

import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

NUM_ENVS = (1, 8, 40)
ENVS = {
    "cheetah-vel": ("hyperpolicy/CheetahVel-v0", "HalfCheetah-v5", {}),
    "ant-dir": ("hyperpolicy/AntDir-v0", "Ant-v5", {"include_cfrc_ext_in_observation": False}),
}
"""Family → our single environment; Gymnasium's nearest, and what makes its observation ours."""
MOST_PROCESSES = 8
"""Of our own environment: each process starts a jax of its own, about 100 MB."""
ROWS = {
    "Worlds, all cores": "worlds-all",
    "Worlds, 1 thread": "worlds-1",
    "SyncVectorEnv of ours": "sync-ours",
    "AsyncVectorEnv of ours": "async-ours",
    "SyncVectorEnv of Gymnasium's": "sync-gymnasium",
    "AsyncVectorEnv of Gymnasium's": "async-gymnasium",
}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/worlds.json.

    Args:
        quick: one short repeat of few cases, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    sizes = {"cheetah-vel": (8,)} if quick else {"cheetah-vel": NUM_ENVS, "ant-dir": (40,)}
    cases = {}
    for family, counts in sizes.items():
        for n in counts:
            cases |= contenders(family, n, 0.5 if quick else 3.0)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    console.print(table(sizes, results))
    if not quick:
        print(save("worlds", __doc__.split("\n\n")[0], results, repeats))


def contenders(family: str, n: int, seconds: float) -> dict[str, Case]:
    """All ways to step n environments of `family`."""
    ours, theirs, options = ENVS[family]
    ways = {
        "worlds-all": ("worlds", family, {}, 0),
        "worlds-1": ("worlds", family, {}, 1),
        "sync-ours": ("sync", ours, {}, 0),
        "async-ours": ("async", ours, {}, 0),
        "sync-gymnasium": ("sync", theirs, options, 0),
        "async-gymnasium": ("async", theirs, options, 0),
    }
    if n > MOST_PROCESSES:
        del ways["async-ours"]
    return {
        f"{family} {n} {way}": Case(
            "worlds.py",
            {
                "kind": kind,
                "env": env,
                "options": options,
                "num_envs": n,
                "threads": threads,
                "seconds": seconds,
            },
        )
        for way, (kind, env, options, threads) in ways.items()
    }


def table(sizes: dict[str, tuple[int, ...]], results: dict[str, Result]) -> Table:
    """Rates, and how many times as fast Worlds on all cores are."""
    shown = Table(title="environment steps per second, median (lowest–highest)")
    for name in ("family", "envs", "", "steps/s", "Worlds ÷ it"):
        shown.add_column(name, justify="left" if name in ("family", "") else "right")
    for family, counts in sizes.items():
        for n in counts:
            best = results[f"{family} {n} worlds-all"].median
            for label, way in ROWS.items():
                if (result := results.get(f"{family} {n} {way}")) is None:
                    continue
                ratio = f"{best / result.median:.1f}×"
                shown.add_row(family, str(n), label, spread(result), ratio)
            shown.add_section()
    return shown


if __name__ == "__main__":
    tyro.cli(main)
