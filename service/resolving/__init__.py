"""The resolving half: workers turn hints into identities."""
