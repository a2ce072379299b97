"""Experiments: sides, orders, samples in fresh processes, statistics and verdicts."""
