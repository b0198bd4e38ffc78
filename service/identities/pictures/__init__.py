"""Profile pictures: the allowed addresses, the fetch, and the stored copies."""
