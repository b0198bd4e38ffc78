"""Two alternative designs, each in its own environment."""
