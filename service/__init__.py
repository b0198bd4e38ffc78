"""Gives a name to every stranger in an Instagram inbox."""
