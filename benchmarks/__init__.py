"""Measures the service beside a bare server and two alternative designs."""
