"""Data: replay rows, stored episodes, demonstrations."""
