"""The choice of what ships: on training contexts alone, kept, and made again from scores."""

import json

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import BadSetting, UnknownFamily
from hyperpolicy.recipes.zero_shot import choosing
from hyperpolicy.recipes.zero_shot.choosing import ChoosingConfig
from hyperpolicy.recipes.zero_shot.presets import SMOKE


def test_validation_holds_training_contexts_out_and_no_test_context_in():
    grid = choosing.validation(hp.family("cheetah-vel").grid("macaw"))
    full, split = grid.split("full"), grid.split("validation")
    assert len(split.test) == 5 and len(split.train) == 30
    assert not set(split.test_ids) & set(full.test_ids)
    assert set(split.test_ids) | set(split.train_ids) == set(full.train_ids)
    with pytest.raises(BadSetting, match="3 training contexts; too few"):
        few = hp.family("cheetah-vel").grid("macaw")
        sixteenth = few.split("sixteenth")
        from dataclasses import replace

        from hyperpolicy.envs.context import Division

        ids = tuple(sixteenth.train_ids.tolist()), tuple(sixteenth.test_ids.tolist())
        choosing.validation(replace(few, divisions=(Division("full", *ids),)))


def test_candidates_are_scored_once_and_the_best_is_named(tmp_path):
    kinds = {k: choosing.KINDS[k] for k in ("interpolated neighbors", "base")}
    config = ChoosingConfig(
        families=("cheetah-vel",),
        out=tmp_path,
        candidates={"cheetah-vel": {"smoke": SMOKE}},
        kinds=kinds,
        episodes=1,
    )
    found, late = choosing.run(config)
    assert not late and set(found["cheetah-vel"]["smoke"]) == set(kinds)
    again, _ = choosing.run(config)
    assert again == found
    kept = json.loads((tmp_path / "cheetah-vel" / "choice.json").read_text())
    assert kept["choice"]["preset"] == "smoke" and kept["choice"]["kind"] in kinds
    assert "Chosen: " in choosing.page(found, ["something"])


def test_the_choice_is_the_best_mean_over_pipelines():
    scores = {"a": {"x": [1.0, 3.0], "y": [2.5, 2.5]}, "b": {"x": [9.0, -9.0]}}
    assert choosing.choice(scores) == {"preset": "a", "kind": "y"}
    assert np.isfinite(scores["a"]["x"]).all()


def test_families_without_candidates_are_refused():
    with pytest.raises(UnknownFamily, match="family with candidates called 'metaworld'"):
        ChoosingConfig(families=("metaworld",))
