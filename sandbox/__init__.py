"""The service on one machine without Meta: PostgreSQL, a Graph simulator, sample messages."""
