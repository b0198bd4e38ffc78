"""Handing the work to a queue in PostgreSQL."""
