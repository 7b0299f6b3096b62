"""The table of kinds, and what generators are given."""

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.data.given import Contexts
from hyperpolicy.errors import BadContext, BadFile
from hyperpolicy.generate import kinds
from hyperpolicy.generate.fitting import FitConfig


def test_every_part_stands_under_its_own_name():
    assert {name: kinds.part(name).kind for name in kinds.KINDS} == {n: n for n in kinds.KINDS}
    with pytest.raises(BadFile, match="no part 'oracle' of generators"):
        kinds.part("oracle")


def test_settings_are_found_by_the_names_of_their_commands():
    found = kinds.configs()
    assert len(found) == sum(kind.config is not None for kind in kinds.KINDS.values())
    assert all(issubclass(config, FitConfig) for config in found.values())
    assert {"regression", "hyplatent", "genhyper", "distill", "residual"} <= set(found)


def test_contexts_are_checked_and_say_what_they_are():
    ants = hp.family("ant-dir")
    given = Contexts(ants, np.array([[7.0], [1.0]]))
    np.testing.assert_allclose(given.rows, [[7.0 - 2 * np.pi], [1.0]])
    assert (len(given), given.column) == (2, "true context")
    with pytest.raises(BadContext):
        Contexts(hp.family("cheetah-vel"), np.array([[9.0]]))


def test_contexts_of_another_family_are_refused(zoo):
    from hyperpolicy.generate.writers import lookup

    with pytest.raises(BadContext, match="contexts of ant-dir for a generator of cheetah-vel"):
        lookup.nearest(zoo).generate(Contexts(hp.family("ant-dir"), np.array([[1.0]])))
