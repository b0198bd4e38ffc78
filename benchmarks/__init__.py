"""How fast the service is, beside what the machine allows and what a team would write otherwise."""
