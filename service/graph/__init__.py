"""The Graph API: calls, the meaning of answers, and the budget and pauses that apply to calls."""
