"""What do written policies do? README's picture: cheetahs told four speeds, ants told twelve
directions, all by two shipped generators, none a context of training.

    python benchmarks/picture.py            # writes docs/pictures/written.png
"""

from pathlib import Path

import mujoco
import numpy as np
import tyro
from matplotlib.collections import LineCollection

import hyperpolicy as hp
from hyperpolicy.evaluate.plots import COLORS, INK, figure_at

SPEEDS = (0.4, 1.1, 1.9, 2.8)
DIRECTIONS = 12
SECONDS, EVERY_S = 4.0, 1.0
CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE


def main(out: Path = Path("docs/pictures/written.png")) -> None:
    """Play, and draw.

    Args:
        out: the file to write, over an older one.
    """
    with figure_at(out, overwrite=True, columns=2) as (figure, (left, right)):
        figure.set_size_inches(9.6, 3.0)
        left.get_gridspec().set_width_ratios([1.95, 1])
        cheetahs(left)
        ants(right)


def cheetahs(axes) -> None:
    """A row a speed: the robot from the side, once a second."""
    family, policies = written("cheetah-vel", np.array(SPEEDS)[:, None])
    every = round(EVERY_S / family.dt_s)
    scenes = played(
        family, policies, np.array(SPEEDS)[:, None], round(SECONDS / family.dt_s), every
    )
    for row, (speed, seen) in enumerate(zip(SPEEDS, scenes, strict=True)):
        ground = -1.35 * row
        axes.plot([-0.9, 12.3], [ground, ground], color="#cccccc", lw=1)
        axes.text(-1.05, ground + 0.3, f"{speed} m/s", ha="right", va="center", fontsize=10)
        for k, (model, data) in enumerate(seen):
            clear = 0.25 + 0.75 * k / (len(seen) - 1)
            body(axes, model, data, (0, 2), (0.0, ground), COLORS[row % 3], clear)
    axes.set_xlim(-2.6, 12.4)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("Told a speed: the robot after 0, 1, 2, 3, 4 seconds", fontsize=11)


def ants(axes) -> None:
    """Paths from above, and the robot at their end."""
    angles = (np.arange(DIRECTIONS) + 0.43) * 2 * np.pi / DIRECTIONS
    family, policies = written("ant-dir", angles[:, None])
    scenes = played(family, policies, angles[:, None], 100, 2)
    for i, (angle, seen) in enumerate(zip(angles, scenes, strict=True)):
        color = COLORS[i % 3]
        path = np.array([data.qpos[:2] for _, data in seen])
        far = 1.12 * np.linalg.norm(path[-1]) + 0.8
        axes.plot(*(np.outer([0, far], [np.cos(angle), np.sin(angle)]).T), ":", color=INK, lw=0.8)
        axes.plot(*path.T, color=color, lw=1.6)
        body(axes, *seen[-1], (0, 1), (0.0, 0.0), color, 1.0)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("Told a direction: 5 seconds", fontsize=11)


def written(name: str, contexts) -> tuple:
    """A shipped generator's family and policies; contexts it was trained on are refused."""
    generator = hp.load(name)
    gaps = generator.family.context.distance(contexts, generator.trained_contexts)
    assert gaps.min() > 1e-3, "a context of training"
    return generator.family, generator.generate(contexts)


def played(family, policies, contexts, steps: int, every: int) -> list[list[tuple]]:
    """Each world's scenes, from the first state on, one for `every` steps."""
    worlds = family.worlds(contexts, seed=5)
    obs = worlds.reset()
    found = [[worlds.scene(i)] for i in range(len(contexts))]
    for t in range(1, steps + 1):
        obs = worlds.step(policies.act(obs)).obs
        if t % every == 0:
            for i, seen in enumerate(found):
                seen.append(worlds.scene(i))
    return found


def body(axes, model, data, plane: tuple[int, int], at, color: str, clear: float) -> None:
    """A robot's capsules and spheres as thick lines in two of the world's axes."""
    lines, widths = [], []
    for g in range(model.ngeom):
        radius, half = model.geom_size[g][:2]
        if model.geom_type[g] == CAPSULE:
            along = data.geom_xmat[g].reshape(3, 3)[:, 2] * half
        elif model.geom_type[g] == mujoco.mjtGeom.mjGEOM_SPHERE:
            along = np.array([1e-3, 0.0, 0.0])
        else:
            continue
        ends = np.stack([data.geom_xpos[g] - along, data.geom_xpos[g] + along])[:, plane]
        lines.append(ends + np.array(at))
        widths.append(radius)
    scale = 92.0 if plane == (0, 2) else 24.0
    axes.add_collection(
        LineCollection(
            lines,
            linewidths=np.array(widths) * scale,
            colors=color,
            alpha=clear,
            capstyle="round",
            zorder=3,
        )
    )


if __name__ == "__main__":
    tyro.cli(main)
