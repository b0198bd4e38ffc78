"""The whole service on one machine, without Meta: Postgres, a Graph simulator, sample traffic."""
