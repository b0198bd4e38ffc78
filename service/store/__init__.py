"""PostgreSQL: the tables behind every promise; all SQL is in `sql.py`."""
