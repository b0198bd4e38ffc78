"""Tests that break real processes: chaos, soak, fuzz."""
