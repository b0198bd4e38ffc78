"""The verdict on the service, based on the share of people who get a name."""
