"""Removes defences to check that tests fail."""
