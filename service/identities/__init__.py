"""What the inbox reads: identities, the events that announce changes, and erasure."""
