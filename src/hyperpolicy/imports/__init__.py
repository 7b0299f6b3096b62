"""Policies out of other libraries' files. Nothing in them is run: only arrays and text are read."""

from hyperpolicy.imports.layers import Layers, check, policies, read

__all__ = ["Layers", "check", "policies", "read"]
