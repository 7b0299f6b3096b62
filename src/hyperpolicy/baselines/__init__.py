"""Methods that are no generators, to compare generators with."""
