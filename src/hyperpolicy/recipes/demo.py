"""The demo: fit a generator on the shipped zoo, let it write policies for unseen speeds, look."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from tyro.conf import Suppress

from hyperpolicy import files, rollout
from hyperpolicy.bounds import Bounded, Count, Place
from hyperpolicy.envs import family
from hyperpolicy.errors import BadZoo, NoRendering
from hyperpolicy.evaluate.compare import compare, standard_rows
from hyperpolicy.evaluate.plots import plot_returns, plot_velocities
from hyperpolicy.evaluate.protocol import CONDITIONED, INTERPOLATED, NEAREST, ORACLE, published
from hyperpolicy.evaluate.scoring import Maker, Row, score
from hyperpolicy.evaluate.video import Film, record
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.writers import lookup
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.recipes.zero_shot.methods import Source
from hyperpolicy.terminal import Terminal
from hyperpolicy.zoo import Zoo

SHIPPED, FITTED = "shipped generator", "HypLatent, fitted just now"

BEST_PUBLISHED = (
    ("Prompt-DT, K* = 40", -34.43),
    ("AMT-Hyp without HypFormer, 35 training tasks", -29.6),
    ("GenHyper HypLatent, 35 training tasks", -34.84),
)
"""One row of each published method; the recipe's table has them all."""


@dataclass(frozen=True)
class DemoConfig(Bounded):
    zoo: Path = Path("zoos/cheetah-vel/specialized-full")
    """The zoo to fit on; the repository ships this one."""
    out: Place = Path("demo")
    """Where generator, table, pictures and video go; a number is added where it exists."""
    hyplatent: Suppress[HypLatentConfig] = field(
        default_factory=lambda: HypLatentConfig(steps=5_000, behavior=1e3)
    )
    """The generator to fit."""
    episodes: Suppress[Count] = 10
    """Episodes of each policy."""
    video: bool = True
    """Record a short video; needs a rendering back end."""


def demo(config: DemoConfig | None = None, console: Console | None = None) -> Path:
    """Run the demo; the directory it filled. BadZoo where there is no zoo at `config.zoo`."""
    config, console = config or DemoConfig(), console or Terminal()
    fam = family("cheetah-vel")
    split = fam.grid("macaw").split("full")
    if not (config.zoo / "zoo.json").exists():
        raise BadZoo(f"no zoo at {config.zoo}; run in a clone of the repository, or give --zoo")
    out = files.new_directory(config.out)
    source = Source.beside(config.zoo, Zoo.load(config.zoo).only(split.train))
    console.print(
        f"1/4 {len(source.train)} checkpoints of {len(source.train.contexts)} experts; "
        f"the speeds {', '.join(f'{x:.4g}' for x in split.test[:, 0])} m/s are held out.\n"
        f"    Fitting HypLatent for {config.hyplatent.steps:,} steps …"
    )
    began = time.monotonic()
    fitted = fit(config.hyplatent, source.train, 0, out / "generator")
    console.print(f"    done in {time.monotonic() - began:.0f} s → {out / 'generator'}")
    shipped = load("cheetah-vel")
    makers = {SHIPPED: shipped, FITTED: fitted, NEAREST: lookup.nearest(source.train)}
    if source.base is not None:
        makers[CONDITIONED] = source.conditioned()

    console.print("2/4 Writing policies for the held-out speeds and running them …")
    comparison = compare_all(config, source, makers, split)
    comparison.save(out / "table.json")
    text = f"# Cheetah-Vel, five held-out speeds\n\n{comparison.markdown()}\n"
    write_page(out / "table.md", text)
    console.print(comparison.rich("Return over 200 steps on five held-out speeds"))

    console.print("3/4 Drawing …")
    draw(config, source, makers, out)
    if config.video:
        console.print("4/4 Recording a video …")
        targets = np.array([[0.31], [1.66], [2.84]])
        try:
            film = Film(steps=120)
            record(shipped.generate(targets), fam, targets, out / "cheetahs.mp4", film=film)
        except NoRendering as error:
            console.print(f"    no video: {error}")
    else:
        console.print("4/4 Without a video.")
    for path in sorted(out.iterdir()):
        console.print(f"    {path}")
    return out


def compare_all(config: DemoConfig, source: Source, makers: dict[str, Generator], split):
    """Trivial rows, both generators, the held-out speeds' own experts, published rows."""
    asked = {name: Row([maker]) for name, maker in makers.items()}
    asked[FITTED] = Row([makers[FITTED]], draws=8)
    asked[INTERPOLATED] = Row([lookup.linear(source.train)])
    asked[ORACLE] = Row([Zoo.load(config.zoo).only(split.test).finals])
    rows = standard_rows(source.train.family, split.test, asked, config.episodes)
    best = [p for p in published("cheetah-vel") if (p.method, p.value) in BEST_PUBLISHED]
    return compare(rows, best)


def draw(config: DemoConfig, source: Source, makers: dict[str, Generator], out: Path) -> None:
    """Return against speed on and between the grid points, and velocity traces."""
    fam, experts = source.train.family, Zoo.load(config.zoo)
    between = np.linspace(0.075, 3.0, 79)[:, None]  # the grid's speeds and those half way between
    asked: dict[str, tuple[Maker, np.ndarray]] = {n: (m, between) for n, m in makers.items()}
    asked[ORACLE] = experts.finals, experts.contexts
    names = [name for name in (SHIPPED, FITTED, NEAREST, ORACLE, CONDITIONED) if name in asked]
    scores = {name: score(asked[name][0], fam, asked[name][1], config.episodes) for name in names}
    title = "Return by target speed, on the grid and between its points"
    plot_returns(scores, fam, out / "returns.png", source.train.contexts, title)
    targets = np.array([[0.31], [0.94], [1.66], [2.17], [2.84]])
    trace = rollout.trace(makers[SHIPPED].generate(targets), fam, targets, episodes=5)
    title = "Policies written for speeds nobody trained on"
    plot_velocities(trace, fam, targets, out / "velocities.png", title)
