"""Processes that tests start: real ones, and forks of one that has imported the service."""
