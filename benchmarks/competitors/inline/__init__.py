"""RequestedFetches before the ack."""
