"""Reinforcement learning, one learner a page; `jax.vmap` makes the fleet."""

LEARNERS = {
    "sac": "sac:SacConfig",
    "td-sac": "td_sac:TdSacConfig",
    "td3": "td3:Td3Config",
    "ppo": "ppo:PpoConfig",
}
"""The one table of learners: name → page and configuration."""


def config(name: str) -> type:
    """The configuration of the learner called `name`.

    Raises:
        BadSetting: there is none.
    """
    from importlib import import_module

    from hyperpolicy.errors import BadSetting, unknown

    if name not in LEARNERS:
        raise unknown(BadSetting, "learner", "Learners", name, LEARNERS)
    page, _, config = LEARNERS[name].partition(":")
    return getattr(import_module(f"hyperpolicy.rl.{page}"), config)
