"""Access to PostgreSQL; the statements are in `queries/`."""
