"""Breaks the real processes under a stream of signed webhooks: `make chaos`."""
