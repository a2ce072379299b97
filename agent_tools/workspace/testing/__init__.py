"""Pytest: chosen, run, told in few words; skeletons, and a watch."""
