"""Profile pictures: which addresses may be fetched, the fetch itself, and the copies we keep."""
