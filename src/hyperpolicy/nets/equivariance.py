"""Networks that treat turned and mirrored inputs alike: weights tied over a group of symmetries.

A symmetry g acts on what a network sees and says by signed permutations, (g x)_i = s_i x_{p(i)}.
Hidden units stand in blocks of one unit for each element of the group, and g moves unit h of a
block to g·h. Then f(g x) = g f(x) for all g exactly if no weight changes under

    W[i, j] → s_i s'_j W[p(i), p'(j)]        b[j] → s'_j b[p'(j)]

`tie` averages a flat weight vector over the group: the nearest such network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.critic import CriticSpec
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Signed, Symmetry

Tie = Callable[[Float[Array, " p"]], Float[Array, " p"]]
"""Flat weights → those of the nearest equivariant network."""
Sides = list[tuple[Signed, Signed]]
"""For each layer: how a symmetry acts on its inputs and on its outputs."""


@dataclass(frozen=True)
class Group:
    """Some symmetries and all their products, the identity first."""

    generators: tuple[Symmetry, ...]

    @cached_property
    def elements(self) -> list[Symmetry]:
        g = self.generators[0]
        sizes = (len(part.index) for part in (g.obs, g.context, g.action))
        found = [Symmetry(*map(Signed.identity, sizes))]
        for element in found:  # grows while it is walked
            for g in self.generators:
                if g @ element not in found:
                    found.append(g @ element)
        return found

    def hidden(self, width: int) -> list[Signed]:
        """How each element moves hidden units: (g z)_{k,u} = z_{k, g⁻¹u}.

        Raises:
            BadSetting: a width that blocks of one unit an element do not fill.
        """
        size = len(self.elements)
        if width % size:
            raise BadSetting(f"width={width} is not a multiple of the {size} symmetries")
        number = {element: i for i, element in enumerate(self.elements)}
        blocks = size * np.arange(width // size)[:, None]
        moves = []
        for g in self.elements:
            to = [number[g @ h] for h in self.elements]
            index = (blocks + np.argsort(to)).ravel()
            moves.append(Signed(tuple(index.tolist()), (1,) * width))
        return moves


def tie_policy(group: Group, spec: PolicySpec) -> Tie:
    """For a policy that sees [obs, encoded context]."""

    def sides(g: Symmetry, *hidden: Signed) -> Sides:
        units = [g.obs + g.context, *hidden]
        return [*pairwise(units), (units[-1], g.action), (units[-1], g.action.unsigned)]

    return _tie(group, spec.hidden, sides)


def tie_critic(group: Group, spec: CriticSpec) -> Tie:
    """For one critic of [obs, encoded context, action], whose value does not change."""

    def sides(g: Symmetry, *hidden: Signed) -> Sides:
        return [*pairwise([g.obs + g.context + g.action, *hidden, Signed.identity(1)])]

    return _tie(group, spec.hidden, sides)


def _tie(group: Group, widths: tuple[int, ...], sides: Callable[..., Sides]) -> Tie:
    moves = zip(group.elements, *map(group.hidden, widths), strict=True)
    flat = [_act_on_weights(sides(*move)) for move in moves]
    index, sign = (np.stack(parts) for parts in zip(*flat, strict=True))
    return lambda weights: jnp.mean(sign * weights[index], axis=0)


def _act_on_weights(sides: Sides) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """A symmetry as signed permutation of flat weights, layer by layer, weight then bias."""
    index, sign, start = [], [], 0
    for before, after in sides:
        i, o = len(before.index), len(after.index)
        weight = start + np.arange(i * o).reshape(i, o)
        bias = start + i * o + np.arange(o)
        index += [weight[np.ix_(before.index, after.index)].ravel(), bias[list(after.index)]]
        sign += [np.outer(before.sign, after.sign).ravel(), np.array(after.sign)]
        start += i * o + o
    return np.concatenate(index), np.concatenate(sign).astype(np.float32)
