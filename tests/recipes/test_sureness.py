"""The recipe that measures whether generators know how good their policies are."""

import numpy as np
import pytest

from hyperpolicy import cli
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.recipes.zero_shot import sureness
from hyperpolicy.recipes.zero_shot.sureness import SurenessConfig

ZOO = sureness.SurenessConfig.zoos[0].absolute()


def test_a_cell_is_measured_once_and_read_again(tmp_path):
    kinds = {"regression of weights": lambda: RegressionConfig(degree=2)}
    config = SurenessConfig(zoos=(ZOO,), out=tmp_path, episodes=1, kinds=kinds, minutes=0.0)
    assert sureness.run(config) == ([], ["cheetah-vel, regression of weights"])
    config = SurenessConfig(zoos=(ZOO,), out=tmp_path, episodes=1, kinds=kinds)
    (cell,), late = sureness.run(config)
    assert not late and len(cell.folds.contexts) == 35 and len(cell.few.contexts) == 4 * 35
    assert len(set(cell.folds.contexts)) == 35
    few = {one.name: np.array(one.values) for one in cell.few.signals}
    folds = {one.name: np.array(one.values) for one in cell.folds.signals}
    assert few["distance"].shape == (140,) and set(folds) >= {"distance", "disagreement"}
    again, _ = sureness.run(
        SurenessConfig(zoos=(ZOO,), out=tmp_path, episodes=1, kinds=kinds, minutes=0.0)
    )
    assert again == [cell]
    text = sureness.page([cell], ["ant-dir, HypLatent"])
    assert "| cheetah-vel | regression of weights | few |" in " ".join(text.split())
    assert "Not done: ant-dir, HypLatent" in text


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert (
        cli.main(f"recipe confidence --zoos {tmp_path / 'no'} --out {tmp_path / 'o'}".split()) == 2
    )
    assert "no zoo at" in capsys.readouterr().err
    with pytest.raises(BadZoo):
        sureness.run(SurenessConfig(zoos=(tmp_path / "no",)))
