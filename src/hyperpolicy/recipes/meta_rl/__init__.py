"""Methods that adapt to a task from data, and generators, on one protocol."""
