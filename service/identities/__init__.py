"""What the Inbox reads: identities, change events, the list of people and pictures."""
