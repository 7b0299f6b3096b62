"""Replay rows and rings."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperpolicy.data.replay import Layout, draw, pack, push, unpack

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
