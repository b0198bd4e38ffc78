"""Takes defences away to see that tests notice."""
