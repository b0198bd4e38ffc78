"""Fetching before the ack."""
