"""`doctor`: find out why names are missing."""
