"""How well the service does, judged by the names that people get."""
