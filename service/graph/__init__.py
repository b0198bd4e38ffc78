"""The Graph API: calls, what each answer means, and the budget and pauses that every call obeys."""
