"""The receiving half: verify a delivery, read its participants, make them durable."""
