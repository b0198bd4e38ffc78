"""Connected accounts: checks and renewal of their tokens, and the erasure of their people."""
