"""A static page in which generators write policies and MuJoCo moves the robots."""
