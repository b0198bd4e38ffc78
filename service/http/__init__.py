"""The HTTP side: routes, keys, problems."""
