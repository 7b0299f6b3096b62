"""Data of episodes: replay rows, and demonstrations."""
