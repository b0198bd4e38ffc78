"""Durable forwarding: each signed delivery is stored, then posted to every forward address.

`FORWARD_URLS` makes the service the front door of a receiver that wants the messages too. The
webhook route stores a delivery through the outbox before it answers 200; the forwarder posts what
is stored until each address answers 2xx, and deletes it then. Forwarding shares nothing with
resolving but the database.
"""
