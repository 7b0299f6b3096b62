"""Many tasks, one policy: the methods of the PTSL study and others, under written protocols."""
