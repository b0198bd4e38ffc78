"""Handing the work to a queue on Postgres."""
