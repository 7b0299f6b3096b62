"""Plots: a picture is drawn, nothing is overwritten silently, bad input is explained."""

import json
from contextlib import contextmanager

import matplotlib.image
import numpy as np
import pytest

from hyperpolicy import rollout
from hyperpolicy.envs.locomotion import AntDir, CheetahVel
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting
from hyperpolicy.evaluate import Score, learning, plots
from hyperpolicy.evaluate.learning import Curves

FAMILY = CheetahVel(horizon_steps=8)
CONTEXTS = np.array([[2.0], [0.5], [1.0]])


def colors(path) -> set:
    """The distinct colors of a picture."""
    pixels = (matplotlib.image.imread(path)[..., :3] * 255).astype(int)
    return {tuple(color) for color in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}


def rgb(name: str) -> tuple:
    return tuple(int(name[i : i + 2], 16) for i in (1, 3, 5))


def made_up(num_seeds: int) -> Score:
    returns = np.random.default_rng(0).normal(size=(num_seeds, 1, 3, 2))
    return Score("cheetah-vel", CONTEXTS, ("2 m/s", "0.5 m/s", "1 m/s"), returns)


def test_returns_are_drawn_one_color_a_score(tmp_path):
    scores = {"experts": made_up(1), "generator": made_up(3)}
    path = plots.plot_returns(scores, FAMILY, tmp_path / "returns.png", train=CONTEXTS)
    assert {rgb(c) for c in plots.COLORS[:2]} <= colors(path)
    assert rgb(plots.COLORS[2]) not in colors(path)
    with pytest.raises(AlreadyExists):
        plots.plot_returns(scores, FAMILY, path)


def test_velocities_are_drawn_for_a_speed_only(tmp_path):
    trace = rollout.trace(rollout.uniform(FAMILY), FAMILY, CONTEXTS, episodes=2)
    path = plots.plot_velocities(trace, FAMILY, CONTEXTS, tmp_path / "velocity.png")
    assert (68, 1, 84) in colors(path), "viridis begins with this violet"
    with pytest.raises(BadSetting, match="no single speed"):
        plots.plot_velocities(trace, AntDir(), CONTEXTS, tmp_path / "ant.png")


def test_what_updates_measured_is_drawn(tmp_path):
    """A panel a name that the first record, before any update, does not have."""
    lines = [{"updates": 0, "return": [0.0, 1.0]}]
    for u in (8, 16):
        lines.append({"updates": u, "return": [1.0, 2.0], "loss/actor": [u, 2.0], "q": [1.0, None]})
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("\n".join(map(json.dumps, lines)))
    text = learning.plot_measured(metrics, tmp_path / "measured.svg").read_text()
    assert "<!-- loss/actor -->" in text and "<!-- q -->" in text
    assert "<!-- return -->" not in text
    metrics.write_text(json.dumps(lines[0]))
    with pytest.raises(BadFile, match="holds nothing that updates measured"):
        learning.plot_measured(metrics, tmp_path / "nothing.svg")


def test_learning_curves_skip_half_a_line_and_dead_experts(tmp_path):
    lines = [json.dumps({"updates": u, "return": [-u, float("nan"), -2 * u]}) for u in (8, 16)]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("\n".join([*lines, '{"updates": 24, "ret']))
    updates, returns = learning.read(metrics, along="updates")
    np.testing.assert_array_equal(updates, [8, 16])
    np.testing.assert_array_equal(returns.T, [[-8, np.nan, -16], [-16, np.nan, -32]])
    path = learning.plot_learning({"fleet": metrics}, tmp_path / "learning.svg")
    assert "<svg" in path.read_text()


def curve(last: int, n: int = 3):
    """Made-up learning curves of n experts, up to `last` updates."""
    updates = np.linspace(last / 10, last, 10)
    return Curves(updates, -np.outer(np.arange(1, n + 1), 1 / updates))


def test_much_longer_curves_get_a_panel_of_their_own(tmp_path):
    curves = {"a": curve(16_000), "slow": curve(120_000), "b": curve(20_000)}
    assert learning._by_length(curves) == [["a", "b"], ["slow"]]
    one, two = (
        learning.plot_learning({name: curves[name] for name in names}, tmp_path / f"{names}.svg")
        for names in ("ab", ["a", "slow"])
    )
    panels = [path.read_text().count("gradient updates") for path in (one, two)]
    assert panels == [1, 2]


def test_one_learner_has_a_line_and_no_range(tmp_path):
    text = learning.plot_learning({"base": curve(100, n=1)}, tmp_path / "a.svg").read_text()
    assert "<!-- base -->" in text and "range" not in text


def test_every_series_has_a_marker_of_its_own(tmp_path):
    """Readers without color, and prints, tell curves apart."""
    import matplotlib.figure

    drawn = []
    plot = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        drawn.append(figure)
        return plot(figure, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", keep)
        names = "abcdefg"
        learning.plot_learning({name: curve(100) for name in names}, tmp_path / "l.png")
        plots.plot_returns({name: made_up(1) for name in names}, FAMILY, tmp_path / "r.png")
    for figure in drawn:
        lines = figure.axes[0].get_lines()
        assert len({(x.get_marker(), str(x._dash_pattern)) for x in lines}) == 7


def test_metrics_that_are_none_are_explained(tmp_path):
    with pytest.raises(BadFile, match="cannot read metrics"):
        learning.plot_learning({"fleet": tmp_path / "none.jsonl"}, tmp_path / "a.png")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadFile, match="holds no evaluations"):
        learning.plot_learning({"fleet": tmp_path / "empty.jsonl"}, tmp_path / "a.png")


def test_a_name_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"\.png, \.svg or \.pdf"):
        plots.plot_returns({"experts": made_up(1)}, FAMILY, tmp_path / "returns.txt")
    assert not list(tmp_path.iterdir())


# --- Fine-tuning --------------------------------------------------------------------------
STEPS = np.array([0.0, 1000.0, 2000.0, 3000.0])
RUNS = Curves(STEPS, np.array([[5.0, 3.0, 6.0, 9.0], [5.0, 6.0, 4.0, 7.0]]))


def test_curves_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"env_steps": 0, "return": [1, 2, 3]}, {"env_steps": 50, "return": [4, 5, 6]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = learning.read(path, [2, 0])
    np.testing.assert_array_equal(found.steps, [0, 50])
    np.testing.assert_array_equal(found.returns, [[3, 6], [1, 4]])
    with pytest.raises(BadFile, match="cannot read"):
        learning.read(tmp_path / "nothing")


def test_steps_to_a_threshold():
    np.testing.assert_array_equal(learning.steps_to(RUNS, 5.5), [2000, 1000])
    np.testing.assert_array_equal(learning.steps_to(RUNS, 5.0), [0, 0])
    np.testing.assert_array_equal(learning.steps_to(RUNS, 8.0), [3000, np.inf])


def test_dips():
    np.testing.assert_array_equal(learning.dip(RUNS, 1000), [2, 0])
    np.testing.assert_array_equal(learning.dip(RUNS, 3000), [2, 1])


def test_curves_of_tasks_are_drawn(tmp_path):
    panels = {"task 6": {"scratch": RUNS, "generated": RUNS}, "task 41": {"generated": RUNS}}
    levels = {"task 6": {"expert": 8.0}}
    path = learning.plot_tasks(panels, tmp_path / "a.png", "Fine-tuning", levels, until=2000)
    assert path.stat().st_size > 10_000
    with pytest.raises(AlreadyExists):
        learning.plot_tasks(panels, path)
    assert learning.plot_tasks({"one": panels["task 6"]}, tmp_path / "b.png").stat().st_size > 5_000


def test_rows_are_drawn_with_intervals_tasks_and_printed_numbers(tmp_path, monkeypatch):
    drawn = []
    real = plots.figure_at

    @contextmanager
    def watched(*args, **kwargs):
        with real(*args, **kwargs) as (figure, axes):
            drawn.append(axes)
            yield figure, axes

    monkeypatch.setattr(plots, "figure_at", watched)
    rows = {
        "ours": plots.Shown(2.0, (1.0, 3.0), np.array([1.5, 2.5])),
        "one pipeline": plots.Shown(1.0, (np.nan, np.nan), np.array([0.5, 1.5])),
        "printed": plots.Shown(4.0),
    }
    path = plots.plot_rows(rows, tmp_path / "rows.png", "return")
    assert plots.plot_rows(rows, path, "return") == path, "written over"
    (axes, _) = drawn
    assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)[::-1]
    assert [next(iter(line.get_ydata())) for line in axes.lines] == [0, 1, 1, 1, 2, 2, 2]
    assert [list(line.get_xdata()) for line in axes.lines[-3:]] == [[1.5, 2.5], [1.0, 3.0], [2.0]]
