"""Networks: arrays → arrays. They know no environments."""
