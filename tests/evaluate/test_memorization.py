"""Memorization audit: copies are caught by weights or by behavior; controls are what they say."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.evaluate import distances, memorization, plots
from hyperpolicy.evaluate.memorization import (
    CHECKPOINT,
    EXPERT,
    GENERATED,
    HELD_OUT,
    MEAN,
    NOISE,
    Audit,
    audit,
    probe_states,
)
from hyperpolicy.generate import align
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

SPEC = PolicySpec(4, 2, (6, 5))
STATES = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)


def make_zoo(num_experts: int = 4, num_checkpoints: int = 2) -> Zoo:
    """Experts far apart, their checkpoints near them; rows expert by expert, the final one last."""
    rng, k = np.random.default_rng(0), num_checkpoints + 1
    expert = np.repeat(np.arange(num_experts), k)
    final = np.tile(np.arange(k) == k - 1, num_experts)
    centers = rng.normal(size=(num_experts, SPEC.size))
    near = 0.05 * rng.normal(size=(len(expert), SPEC.size))
    return Zoo(
        spec=SPEC,
        family=hp.family("cheetah-vel"),
        weights=(centers[expert] + near).astype(np.float32),
        expert=expert,
        updates=np.tile(np.arange(k), num_experts),
        final=final,
        returns=np.zeros(len(expert), np.float32),
        contexts=np.linspace(0.5, 2.0, num_experts)[:, None],
        states=rng.normal(size=(num_experts, 8, 4)).astype(np.float32),
    )


ZOO = make_zoo()


def strangers(n: int = 3) -> Policies:
    weights = np.random.default_rng(7).normal(size=(n, SPEC.size)).astype(np.float32)
    return Policies(weights, SPEC)


def test_copies_are_at_distance_zero():
    found = audit(ZOO.policies[[4, 9]], ZOO, STATES)
    ours = found.groups[GENERATED]
    assert ours.weights == (0.0, 0.0)
    assert max(ours.actions) < 1e-5
    assert ours.nearest == ours.most_alike == (4, 9)
    assert found.copies == {"weights": 2, "actions": 2}
    assert "Of 2 generated policies 2 in weights and 2 in actions" in found.table()


def test_strangers_are_no_copies():
    found = audit(strangers(), ZOO, STATES)
    assert found.copies == {"weights": 0, "actions": 0}
    assert min(found.groups[GENERATED].weights) > 5 * max(found.groups[CHECKPOINT].weights)


def test_a_copy_in_another_order_is_caught_by_what_it_does():
    orders = [np.roll(np.arange(units), 1) for units in SPEC.hidden]
    hidden = Policies(align.permute(SPEC, ZOO.weights[[4]], orders), SPEC)
    found = audit(hidden, ZOO, STATES)
    assert found.copies == {"weights": 0, "actions": 1}
    assert found.groups[GENERATED].most_alike == (4,)


def test_distances_by_hand():
    generated = strangers(2)
    ours = audit(generated, ZOO, STATES).groups[GENERATED]
    for i, weights in enumerate(generated.weights):
        by_hand = np.sqrt(((ZOO.weights - weights) ** 2).sum(axis=1))
        assert ours.nearest[i] == by_hand.argmin()
        np.testing.assert_allclose(ours.weights[i], by_hand.min(), rtol=1e-5)
        here = generated[i].act(STATES[None])[0]
        apart = [np.sqrt(((row.act(STATES[None])[0] - here) ** 2).mean()) for row in rows()]
        assert ours.most_alike[i] == np.argmin(apart)
        np.testing.assert_allclose(ours.actions[i], min(apart), rtol=1e-4)


def rows() -> list[Policies]:
    return [ZOO.policies[i] for i in range(len(ZOO))]


def test_controls_are_what_they_say():
    generated = Policies(ZOO.weights[[0, 6]] + 0.02, SPEC)
    found = audit(generated, ZOO, STATES, held_out=strangers(5))
    groups = found.groups
    np.testing.assert_allclose(groups[NOISE].weights, groups[GENERATED].weights, rtol=1e-4)
    assert groups[NOISE].nearest == groups[GENERATED].nearest
    assert [ZOO.expert[i] for i in groups[CHECKPOINT].nearest] == [0, 1, 2, 3]
    assert all(ZOO.expert[i] != x for x, i in enumerate(groups[EXPERT].nearest))
    assert len(groups[HELD_OUT].weights) == 5
    finals = ZOO.finals.weights
    pairs = [np.linalg.norm(finals[i] - finals[j]) for i in range(4) for j in range(i)]
    np.testing.assert_allclose(found.between_experts[0], np.median(pairs), rtol=1e-5)


def test_the_mean_is_of_two_experts_rows():
    """Half way between them, so half their distance from either, unless a third row is nearer."""
    generated = ZOO.policies[[0]]
    other = np.linalg.norm(ZOO.weights[ZOO.expert != 0] - ZOO.weights[0], axis=1).min()
    found = audit(generated, ZOO, STATES).groups[MEAN]
    assert 0.9 * other / 2 < found.weights[0] <= other / 2 + 1e-5


def mixtures(*shares: float) -> Policies:
    """Mixtures of the first two experts."""
    a, b = ZOO.finals.weights[:2]
    return Policies(np.array([(1 - s) * a + s * b for s in shares], np.float32), SPEC)


def test_mixtures_of_two_experts_are_found():
    found = audit(mixtures(0.5, 0.3), ZOO, STATES)
    ours = found.segments[GENERATED]
    assert ours.pair == ((0, 1), (0, 1))
    np.testing.assert_allclose(ours.share, [0.5, 0.3], atol=1e-4)
    assert max(*ours.weights, *ours.actions) < 1e-4
    assert found.copies == {"weights": 0, "actions": 0}
    assert found.kinds == {"weights": (0, 2, 0), "actions": (0, 2, 0)}
    assert "2 in weights and 2 in actions are mixtures" in found.table()


def test_copies_are_no_mixtures_and_strangers_are_neither():
    both = np.concatenate([ZOO.weights[[2]], strangers(2).weights, mixtures(0.4).weights])
    kinds = audit(Policies(both, SPEC), ZOO, STATES).kinds
    assert kinds == {"weights": (1, 1, 2), "actions": (1, 1, 2)}


def test_distance_to_mixtures_by_hand():
    """Against a fine grid of shares over all pairs; ends are mixtures too."""
    experts, shares = ZOO.finals.weights, np.linspace(0, 1, 2001)[:, None]
    outside = 2 * experts[0] - experts[3]
    for weights in (*strangers(3).weights, outside):
        gaps = {
            (a, b): np.linalg.norm(
                (1 - shares) * experts[a] + shares * experts[b] - weights, axis=1
            )
            for a in range(4)
            for b in range(a + 1, 4)
        }
        a, b, share = distances.nearest_mixture(weights, experts)
        found = np.linalg.norm((1 - share) * experts[a] + share * experts[b] - weights)
        np.testing.assert_allclose(found, min(gap.min() for gap in gaps.values()), rtol=1e-4)
        assert 0.0 <= share <= 1.0
        assert gaps[a, b].min() <= min(gap.min() for gap in gaps.values()) + 1e-4


def test_experts_are_compared_with_mixtures_of_the_others():
    found = audit(strangers(), ZOO, STATES, held_out=mixtures(0.5))
    assert all(x not in pair for x, pair in enumerate(found.segments[EXPERT].pair))
    assert min(found.segments[EXPERT].weights) > 1.0
    assert max(found.segments[HELD_OUT].weights) < 1e-4
    assert EXPERT not in audit(strangers(), make_zoo(2), STATES).segments


def test_noise_around_a_row_is_no_mixture():
    generated = mixtures(0.25, 0.75)
    found = audit(generated, ZOO, STATES)
    assert min(found.segments[NOISE].weights) > 0.8 * min(found.groups[GENERATED].weights)


def test_audits_without_mixtures_are_still_read():
    """Those in `results` were saved before mixtures were measured."""
    saved = sorted(Path(__file__).parents[2].glob("results/**/audit-*.json"))
    assert len(saved) >= 10
    for path in saved:
        found = Audit.from_json(files.load_json(path))
        assert found.copies is not None and found.table()
        assert (found.kinds is None) == (not found.segments)
        assert "| generator" in memorization.compared({"generator": found})


def test_noise_is_drawn_from_the_seed():
    a, b, c = (audit(strangers(), ZOO, STATES, seed=s) for s in (0, 0, 1))
    assert a == b
    assert a.groups[NOISE].actions != c.groups[NOISE].actions
    assert a.groups[GENERATED] == c.groups[GENERATED]


def test_many_rows_act_in_blocks(monkeypatch):
    whole = audit(strangers(), ZOO, STATES)
    monkeypatch.setattr(distances, "AT_ONCE", 5)
    parts = audit(strangers(), ZOO, STATES)
    for name, found in whole.groups.items():
        np.testing.assert_allclose(parts.groups[name].actions, found.actions, atol=1e-5)


def test_experts_of_one_row_have_no_checkpoints():
    found = audit(strangers(), make_zoo(num_checkpoints=0), STATES)
    assert CHECKPOINT not in found.groups
    assert found.copies is None
    assert "Of 3" not in found.table()


def test_table_and_json(tmp_path):
    found = audit(strangers(), ZOO, STATES, held_out=strangers(1))
    lines = found.table().splitlines()
    assert len({line.count("|") for line in lines[: 2 + len(found.groups)]}) == 1
    assert all(any(name in line for line in lines) for name in found.groups)
    path = found.save(tmp_path / "audit.json")
    assert Audit.from_json(files.load_json(path)) == found
    record = json.loads(path.read_text())
    assert record["copies"] == {"weights": 0, "actions": 0}
    assert record["kinds"]["weights"] == {"near_duplicates": 0, "mixtures": 0, "neither": 3}
    with pytest.raises(BadFile, match="this is no audit"):
        Audit.from_json({"groups": {GENERATED: {"weights": []}}})
    with pytest.raises(AlreadyExists):
        found.save(path)


def test_audits_are_compared_and_kept(tmp_path):
    found = {"ours": audit(strangers(), ZOO, STATES)}
    text = memorization.compared(found)
    assert "| ours" in text and CHECKPOINT in text and NOISE not in text and HELD_OUT not in text
    one = memorization.kept(tmp_path / "a.json", lambda: found["ours"])
    assert (
        one == memorization.kept(tmp_path / "a.json", lambda: pytest.fail("again")) == found["ours"]
    )


def test_plot_has_a_color_for_every_group(tmp_path):
    found = audit(strangers(), ZOO, STATES, held_out=strangers(1))
    path = plots.plot_memorization(found, tmp_path / "audit.png")
    pixels = (matplotlib.image.imread(path)[..., :3] * 255).astype(int).reshape(-1, 3)
    ours = tuple(int(plots.COLORS[0][i : i + 2], 16) for i in (1, 3, 5))
    assert ours in {tuple(color) for color in np.unique(pixels, axis=0).tolist()}
    text = plots.plot_memorization(found, tmp_path / "audit.svg").read_text()
    assert all(f"<!-- {name.split(' + ')[0]}" in text for name in found.groups)
    with pytest.raises(AlreadyExists):
        plots.plot_memorization(found, path)


def test_probe_states_are_the_zoo_s():
    found = probe_states(ZOO, count=10)
    assert found.shape == (10, 4)
    known = {tuple(row) for row in ZOO.states.reshape(-1, 4)}
    assert {tuple(row) for row in found} <= known
    assert {len(probe_states(ZOO, 999)), len(known)} == {32}
    with pytest.raises(BadZoo, match="no observations"):
        probe_states(replace(ZOO, states=None))


def test_bad_input_is_explained(as_user):
    other = PolicySpec(4, 2, (5, 5))
    with pytest.raises(BadShape, match="cannot be compared"):
        audit(Policies(np.zeros((1, other.size), np.float32), other), ZOO, STATES)
    with pytest.raises(BadShape, match="0 policies"):
        audit(Policies(np.zeros((0, SPEC.size), np.float32), SPEC), ZOO, STATES)
    with pytest.raises(BadShape, match=r"give \[s, 4\]"):
        audit(strangers(), ZOO, STATES[:, :3])
    with pytest.raises(BadSetting, match=r"policies \[1\] are not finite"):
        bad = strangers().weights.copy()
        bad[1, 0] = np.nan
        audit(Policies(bad, SPEC), ZOO, STATES)
    with pytest.raises(BadZoo, match="two or more"):
        audit(strangers(), make_zoo(1), STATES)
