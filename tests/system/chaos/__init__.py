"""The real processes, broken on purpose, under a stream of signed webhooks: `make chaos`."""
