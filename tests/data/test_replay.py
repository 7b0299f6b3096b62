"""Replay rows and rings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.data.replay import Layout, draw, draw_stratified, pack, push, unpack
from hyperpolicy.errors import BadSetting

LAYOUT = Layout(3, 2, 1, 2)


def test_unpack_undoes_pack():
    rng = np.random.default_rng(0)
    obs, action, outcome, next_obs, context = (
        rng.normal(size=(4, k)).astype(np.float32) for k in (3, 2, 1, 3, 2)
    )
    ended = np.array([True, False, False, True])
    parts = obs, action, outcome, next_obs, ended, context
    rows = pack(*parts)
    assert rows.shape == (4, LAYOUT.size)
    back = unpack(LAYOUT, jnp.asarray(rows))
    for a, b in zip(back, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ring_overwrites_its_oldest_rows():
    ring = jnp.zeros((4, 2))
    for step in range(3):
        ring = push(ring, jnp.full((2, 2), step + 1.0), jnp.int32(step * 2 % 4))
    np.testing.assert_array_equal(ring[:, 0], [3.0, 3.0, 2.0, 2.0])


def test_draw_stays_among_filled_rows_and_reaches_all():
    ring = jnp.arange(8.0)[:, None]
    rows = np.asarray(draw(ring, jnp.int32(5), 400, jax.random.key(0)))
    assert set(rows[:, 0].tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_a_stratified_batch_has_equal_shares_of_tasks_with_unequal_worlds():
    """Three worlds of task 1 and one of task 0; a row is the number of its push and its world."""
    tasks = np.array([1, 0, 1, 1])
    ring = jnp.stack([jnp.arange(24) // 4, jnp.arange(24) % 4], axis=1).astype(float)
    drawn = jax.vmap(lambda key: draw_stratified(ring, jnp.int32(16), 90, tasks, key))
    rows = np.asarray(drawn(jax.random.split(jax.random.key(0), 2)))
    assert set(rows[:, :45, 1].ravel().tolist()) == {1.0}
    assert set(rows[:, 45:, 1].ravel().tolist()) == {0.0, 2.0, 3.0}
    assert set(rows[..., 0].ravel().tolist()) == {0.0, 1.0, 2.0, 3.0}  # all filled rows, no other
    assert (rows[0] != rows[1]).any()
    with pytest.raises(BadSetting, match="91 for 2 tasks"):
        draw_stratified(ring, jnp.int32(16), 91, tasks, jax.random.key(0))
