"""Curves of fine-tuning: thresholds and dips by hand, and a picture."""

import json

import numpy as np
import pytest

from hyperpolicy.errors import AlreadyExists, BadFile
from hyperpolicy.evaluate import tuning
from hyperpolicy.evaluate.tuning import Curves

STEPS = np.array([0.0, 1000.0, 2000.0, 3000.0])
RUNS = Curves(STEPS, np.array([[5.0, 3.0, 6.0, 9.0], [5.0, 6.0, 4.0, 7.0]]))


def test_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"env_steps": 0, "return": [1, 2, 3]}, {"env_steps": 50, "return": [4, 5, 6]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = tuning.read(path, [2, 0])
    np.testing.assert_array_equal(found.steps, [0, 50])
    np.testing.assert_array_equal(found.returns, [[3, 6], [1, 4]])
    with pytest.raises(BadFile, match="cannot read"):
        tuning.read(tmp_path / "nothing")


def test_steps_to_a_threshold():
    np.testing.assert_array_equal(tuning.steps_to(RUNS, 5.5), [2000, 1000])
    np.testing.assert_array_equal(tuning.steps_to(RUNS, 5.0), [0, 0])
    np.testing.assert_array_equal(tuning.steps_to(RUNS, 8.0), [3000, np.inf])


def test_dips():
    np.testing.assert_array_equal(tuning.dip(RUNS, 1000), [2, 0])
    np.testing.assert_array_equal(tuning.dip(RUNS, 3000), [2, 1])


def test_plot(tmp_path):
    panels = {"task 6": {"scratch": RUNS, "generated": RUNS}, "task 41": {"generated": RUNS}}
    levels = {"task 6": {"expert": 8.0}}
    path = tuning.plot(panels, tmp_path / "a.png", "Fine-tuning", levels, until=2000)
    assert path.stat().st_size > 10_000
    with pytest.raises(AlreadyExists):
        tuning.plot(panels, path)
    assert tuning.plot({"one": panels["task 6"]}, tmp_path / "b.png").stat().st_size > 5_000
