"""Gives a name to every stranger in an Instagram inbox."""

VERSION = "0.1.0"  # as in pyproject.toml
