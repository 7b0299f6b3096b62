"""Reinforcement learning, one learner a page; `jax.vmap` makes the fleet."""
