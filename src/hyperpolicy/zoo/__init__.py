"""Zoos of experts, in memory and on disk."""

from hyperpolicy.headers import Training
from hyperpolicy.zoo.shards import join
from hyperpolicy.zoo.zoo import Zoo

__all__ = ["Training", "Zoo", "join"]
