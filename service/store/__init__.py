"""PostgreSQL: the tables behind every promise; their statements are in `queries/`."""
