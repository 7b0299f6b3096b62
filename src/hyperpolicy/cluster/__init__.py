"""Many machines: parts of a command's work as commands of their own, run by Ray or by Slurm."""
