"""NumPy functions written down: the same numbers, here and in the page's JavaScript."""

import json
import shutil
import subprocess
from pathlib import Path

import mujoco
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.envs.mujoco import MujocoFamily
from hyperpolicy.envs.registry import FAMILIES
from hyperpolicy.errors import BadSetting
from hyperpolicy.page import trace
from hyperpolicy.page.site import STATIC

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js")
SHAPES = {"x": (1, 4), "m": (1, 2, 3), "s": (1,)}


def numbers(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


CASES = {
    "slices": lambda g: np.concatenate([g["x"][:, 1:], g["m"][:, 1], g["s"][:, None]], axis=1),
    "arithmetic": lambda g: -((g["x"] * 2 - 1) ** 2) / (1 + np.abs(g["x"])) + g["s"][:, None],
    "sums": lambda g: g["m"].sum(axis=(1, 2)) + g["m"].max(axis=2).min() + np.sum(g["x"], axis=-1),
    "truth": lambda g: ((g["x"] > 0) & ~(g["x"] > 1)).all(axis=1) | np.isfinite(g["s"]),
    "where": lambda g: np.where(g["x"] > 0, np.log1p(np.abs(g["x"])), np.arctan2(g["x"], 2.0)),
    "turns": lambda g: np.cos(g["m"].transpose(0, 2, 1)).reshape(1, -1),
    "products": lambda g: np.einsum("nij,nj->ni", g["m"], g["m"][:, 0]),
    "norm": lambda g: np.linalg.norm(g["m"], axis=-1),
    "clip": lambda g: (
        np.clip(g["x"], -0.5, 0.5) + np.mean(g["m"]) + np.stack([g["s"], g["s"]]).T[:, :1]
    ),
    "hyperbolic": lambda g: np.arcsinh(g["x"]) + np.sign(g["x"]) * np.sqrt(np.abs(g["x"])) % 0.3,
    "not finite": lambda g: np.maximum(g["x"] - np.inf, -3.0) + np.minimum(g["x"], np.inf),
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_computes_what_its_function_does(name):
    program = trace.trace(CASES[name], SHAPES)
    for seed in range(5):
        given = numbers(seed)
        (found,) = trace.run(program, given)
        np.testing.assert_allclose(found, np.asarray(CASES[name](given), float).ravel(), 1e-12)


@needs_node
def test_the_pages_javascript_does_the_same(tmp_path):
    programs = {name: trace.trace(case, SHAPES).record() for name, case in CASES.items()}
    given = {name: x.ravel().tolist() for name, x in numbers(7).items()}
    (tmp_path / "in.json").write_text(json.dumps({"programs": programs, "given": given}))
    script = tmp_path / "it.mjs"
    script.write_text(
        f"""
import fs from "node:fs";
import {{ run }} from {json.dumps((STATIC / "trace.js").as_uri())};
const {{ programs, given }} = JSON.parse(fs.readFileSync({json.dumps(str(tmp_path / "in.json"))}));
const found = Object.entries(programs).map(([k, p]) => [k, Array.from(run(p, given)[0])]);
console.log(JSON.stringify(Object.fromEntries(found)));
"""
    )
    done = subprocess.run([NODE, script], capture_output=True, text=True, check=True)
    for name, row in json.loads(done.stdout).items():
        np.testing.assert_allclose(row, np.asarray(CASES[name](numbers(7)), float).ravel(), 1e-9)


def family_shapes(family: MujocoFamily) -> dict[str, tuple[int, ...]]:
    context = family.grids[0].contexts[0] if family.grids else family.context.usual
    data = mujoco.MjData(family.model(family.context.check(context[None])[0]))
    names = {"qpos", "qvel", *family.fields}
    shapes = {name: (1, *np.shape(getattr(data, name))) for name in sorted(names)}
    return shapes | {"drawn": (1, family.drawn_size)}


@pytest.mark.parametrize("name", [k for k, v in FAMILIES.items() if isinstance(v, MujocoFamily)])
def test_what_every_family_of_mujoco_sees_and_pays_can_be_written_down(name):
    family = hp.family(name)
    if family.mjcf is not None and name not in ("cheetah-vel",) and "ant-dir" not in name:
        pytest.importorskip("dm_control")
    shapes, rng = family_shapes(family), np.random.default_rng(0)
    observe = trace.trace(family.observe, shapes)
    paid = {
        "action": (1, family.action_size),
        "outcome": (1, family.outcome_size),
        "context": (1, family.context.size),
    }
    reward = trace.trace(lambda g: family.reward(g["action"], g["outcome"], g["context"]), paid)
    low, high = family.context.low, family.context.high
    for _ in range(3):
        view = {k: np.abs(rng.normal(size=shape)) for k, shape in shapes.items()}
        wanted = np.asarray(family.observe(view), float).ravel()
        np.testing.assert_allclose(trace.run(observe, view)[0], wanted, 1e-5, 1e-6)
        given = {k: rng.normal(size=shape) for k, shape in paid.items()}
        given["context"] = low + rng.uniform(size=(1, len(low))) * (high - low)
        wanted = family.reward(given["action"], given["outcome"], given["context"])
        np.testing.assert_allclose(trace.run(reward, given)[0], np.ravel(wanted), 1e-9, 1e-12)


def test_what_cannot_be_written_down_is_said():
    with pytest.raises(BadSetting, match="decides by the numbers themselves"):
        trace.trace(lambda g: g["x"] if g["s"][0] > 0 else -g["x"], SHAPES)
    with pytest.raises(BadSetting, match="pages do not know NumPy's fft"):
        trace.trace(lambda g: np.fft.fft(g["x"]), SHAPES)
    with pytest.raises(BadSetting, match="pages do not know NumPy's gcd"):
        trace.trace(lambda g: np.gcd(g["x"], 2), SHAPES)


def test_nothing_comes_out_of_none():
    program = trace.trace(lambda g: None, SHAPES)
    assert program.outputs == [] and trace.run(program, numbers()) == []
    assert Path(STATIC / "package-lock.json").exists()
