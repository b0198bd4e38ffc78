"""Connected accounts: the life of their tokens, and what happens when an account leaves."""
