"""Reinforcement learning, one learner a page; `jax.vmap` makes the fleet."""

from importlib import import_module

from hyperpolicy.errors import BadSetting, unknown

LEARNERS = {
    "sac": ".sac:SacConfig",
    "td-sac": ".td_sac:TdSacConfig",
    "td3": ".td3:Td3Config",
    "ppo": ".ppo:PpoConfig",
}
"""The one table of learners: name → page (with a leading point one of this package) and
configuration."""


def config(name: str) -> type:
    """The configuration of the learner called `name`; raises BadSetting where there is none."""
    if name not in LEARNERS:
        raise unknown(BadSetting, "learner", "Learners", name, LEARNERS)
    page, _, config = LEARNERS[name].partition(":")
    return getattr(import_module(page, "hyperpolicy.rl"), config)
