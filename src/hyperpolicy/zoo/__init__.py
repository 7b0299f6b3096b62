"""Zoos of experts, in memory and on disk."""

from hyperpolicy.zoo.zoo import Zoo

__all__ = ["Zoo"]
