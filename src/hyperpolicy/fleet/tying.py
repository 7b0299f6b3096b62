"""Context-conditioned learners whose networks stay equivariant under their family's symmetries.

Between two steps of the worlds a learner's weights are averaged over the group: whatever it learns
about one direction holds for that direction's images at once.
"""

from collections.abc import Callable

import jax

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.equivariance import Group, tie_critic, tie_policy
from hyperpolicy.rl import sac
from hyperpolicy.rl.sac import SacConfig, SacState


def tie(cfg: SacConfig, family: Family) -> Callable[[SacState], SacState]:
    """One learner → the nearest one whose actor, critics and targets are equivariant.

    Raises:
        BadSetting: a family without symmetries, or a width their number does not divide.
    """
    group = group_of(family)
    o, a = family.obs_size + family.context.encoded_size, family.action_size
    spec, critic = sac.policy_spec(cfg, o, a), sac.critic_spec(cfg, o, a)
    actor_of, critic_of = tie_policy(group, spec), jax.vmap(tie_critic(group, critic))

    def tied(state: SacState) -> SacState:
        actor = spec.unflatten(actor_of(spec.flatten(state.actor)))
        critics, targets = (
            critic.unflatten(critic_of(critic.flatten(twins)))
            for twins in (state.critics, state.targets)
        )
        return state._replace(actor=actor, critics=critics, targets=targets)

    return tied


def symmetric_start(cfg: SacConfig, family: Family, start: Callable) -> Callable:
    """`start` with equivariant networks. Averaging n fresh weights shrinks them by √n, which is
    made up for."""
    group, one = group_of(family), tie(cfg, family)
    gain = len(group.elements) ** 0.5

    def grow(state: SacState) -> SacState:
        actor, critics = jax.tree.map(lambda x: gain * x, (state.actor, state.critics))
        return state._replace(actor=actor, start=actor, critics=critics, targets=critics)

    return jax.jit(lambda seeds: jax.vmap(lambda state: grow(one(state)))(start(seeds)))


def group_of(family: Family) -> Group:
    """Raises BadSetting where no symmetry is known."""
    if not family.symmetries:
        raise BadSetting(f"no symmetries of {family.name} are known; leave symmetric=False")
    return Group(family.symmetries)
