"""Zero-shot tables: a trick that one row gets, all get."""

import numpy as np

import hyperpolicy as hp
from hyperpolicy.evaluate import Row
from hyperpolicy.evaluate.rows import (
    CONDITIONED,
    INTERPOLATED,
    NEAREST,
    REGRESSION,
    TOLD_SYMMETRIES,
    is_trivial,
)
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.weights import symmetric
from hyperpolicy.generate.writers import lookup, regression
from hyperpolicy.recipes.zero_shot import methods
from hyperpolicy.zoo import Zoo


def tiny(name: str) -> Zoo:
    """Four untrained experts."""
    fam = hp.family(name)
    spec = hp.PolicySpec(fam.obs_size, fam.action_size, (4,), ("tanh",))
    weights = np.random.default_rng(0).normal(0, 0.3, (4, spec.size)).astype(np.float32)
    return Zoo(
        spec,
        fam,
        weights,
        expert=np.arange(4),
        updates=np.full(4, 10),
        final=np.ones(4, bool),
        returns=np.full(4, -100.0, np.float32),
        contexts=np.array([[0.1], [0.6], [1.1], [1.4]]),
        provenance={},
    )


def rows(zoo: Zoo) -> dict[str, Row]:
    config = regression.RegressionConfig(degree=1)
    return {
        NEAREST: Row([lookup.nearest(zoo)], 7, pipelines=(0,)),
        INTERPOLATED: Row([lookup.linear(zoo)], 7),
        REGRESSION: Row([fit(config, zoo)], 7),
        CONDITIONED: Row([lookup.nearest(zoo)], 7),
        "ours": Row([lookup.linear(zoo)], 7, draws=8),
    }


def test_every_row_of_a_symmetric_robot_is_turned_too():
    plain = rows(tiny("ant-dir"))
    found = methods.turned(plain)
    assert list(found) == [f"{name}, turned" for name in plain]
    for name, row in plain.items():
        other = found[f"{name}, turned"]
        assert other.makers[0].column == TOLD_SYMMETRIES
        assert is_trivial(f"{name}, turned") == is_trivial(name)
        assert (other.env_steps, other.draws, other.pipelines) == (7, row.draws, row.pipelines)
    contexts = np.array([[0.3], [3.5]])
    want = symmetric.symmetric(plain[INTERPOLATED].makers[0]).generate(contexts)
    got = found[f"{INTERPOLATED}, turned"].makers[0].generate(contexts)
    np.testing.assert_array_equal(got.weights, want.weights)


def test_robots_without_symmetries_have_no_turned_rows():
    assert methods.turned(rows(tiny("cheetah-vel"))) == {}
