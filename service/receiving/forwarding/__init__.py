"""Durable forwarding: each signed delivery is stored, then posted to every forward address.

With `FORWARD_URLS` set, a receiver that needs the messages gets every delivery from this service.
The webhook route stores a delivery in the outbox before it answers 200; the forwarder posts it
until each address answers 2xx, and then deletes it. Forwarding and resolving share only the
database.
"""
