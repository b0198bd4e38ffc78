"""Finds the names of the people who write to Instagram accounts."""

VERSION = "0.1.0"  # as in pyproject.toml
