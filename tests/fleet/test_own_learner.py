"""The learner of docs/own-learner.md, written outside the package, trains as a fleet."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from hyperpolicy import cli, fleet, rl
from hyperpolicy.envs import family

PAGE = Path(__file__).parents[2] / "docs/own-learner.md"
SHORT = fleet.Schedule(
    num_updates=8,
    num_envs=2,
    updates_per_step=2,
    batch=8,
    fill_steps=4,
    num_checkpoints=1,
    num_evaluations=1,
    episodes=1,
    num_states=4,
)


@pytest.fixture(scope="module")
def ddpg(tmp_path_factory):
    (text,) = re.findall(r"```python file=ddpg.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("own") / "ddpg.py"
    file.write_text(text)
    spec = spec_from_file_location("ddpg", file)
    sys.modules["ddpg"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["ddpg"])
    yield sys.modules["ddpg"]
    del sys.modules["ddpg"]


def test_it_trains_as_a_fleet(ddpg):
    """Alone or beside others the same, and its critics and metrics are kept."""
    plan = fleet.OffPolicy(ddpg.DdpgConfig(hidden=(8, 8)), SHORT)
    zoo, other = (
        fleet.train(plan, family("cheetah-vel"), np.array([[0.5], [x]]), seed=3) for x in (1.0, 2.5)
    )
    same = (zoo.finals.weights == other.finals.weights).all(axis=1)
    np.testing.assert_array_equal(same, [True, False])
    assert zoo.spec.head == "deterministic" and zoo.critics.shape[:2] == (2, 2)
    np.testing.assert_array_equal(zoo.critics[:, 0], zoo.critics[:, 1])


def test_commands_take_it_where_they_are_told_of_its_file(ddpg, tmp_path, monkeypatch):
    monkeypatch.setitem(rl.LEARNERS, "own", "")  # as it is taken out again
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ddpg")
    line = '\nfrom hyperpolicy import rl\nrl.LEARNERS["own"] = "own:DdpgConfig"\n'
    (tmp_path / "own.py").write_text(Path(ddpg.__file__).read_text() + line)
    cli.run_file(tmp_path / "own.py")
    command = cli.parse("train cheetah-vel --learner own --out o --hidden 8 8 --tau 0.5".split())
    assert type(command.cfg).__name__ == "DdpgConfig" and command.cfg.tau == 0.5
