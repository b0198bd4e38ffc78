"""The Graph simulator: profiles, every error class, usage headers, latency; a real HTTP server."""
