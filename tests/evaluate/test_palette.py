"""Every two colors differ, also for color-blind readers; every two series differ without color."""

from itertools import combinations

import numpy as np
import pytest

from hyperpolicy.evaluate import plots

BLIND = {
    "nobody": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB."""
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(color: str, kind: str) -> np.ndarray:
    """CIELAB (D65) of a color as `kind` sees it."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(BLIND[kind]) @ linear, 0, 1)
    x, y, z = np.array(XYZ @ seen) / [0.95047, 1.0, 1.08883]
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def nearest(colors, kind: str) -> float:
    """ΔE (CIE 1976) of the two that look most alike."""
    return min(np.linalg.norm(lab(a, kind) - lab(b, kind)) for a, b in combinations(colors, 2))


@pytest.mark.parametrize("kind", BLIND)
def test_every_pair_of_colors_is_told_apart(kind):
    assert nearest([*plots.COLORS, plots.INK], kind) >= 15
    assert min(nearest([color, "#ffffff"], kind) for color in plots.COLORS) >= 30


def test_the_measure_finds_the_red_and_green_of_before():
    assert nearest(["#d1495b", "#2e933c"], "nobody") > 60
    assert 8 < nearest(["#d1495b", "#2e933c"], "deuteranopia") < 9


def test_series_differ_without_their_color():
    shapes = [plots.stroke(i) for i in range(len(plots.LINES) * len(plots.MARKERS))]
    assert len({(s["marker"], str(s["linestyle"])) for s in shapes}) == len(shapes)
    assert len({plots.dots(i)["marker"] for i in range(len(plots.MARKERS))}) == 8


def test_few_points_of_a_long_line_carry_a_marker():
    start, every = plots.stroke(2, points=100)["markevery"]
    assert 7 <= len(range(start, 100, every)) <= 10
    assert plots.stroke(3, points=5)["markevery"] == (0, 1)
