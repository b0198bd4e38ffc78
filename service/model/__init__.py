"""Participants, identities and freshness: pure rules over values and a clock."""
