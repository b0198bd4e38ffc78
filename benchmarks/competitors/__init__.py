"""What a team would write otherwise, each in an environment of its own."""
