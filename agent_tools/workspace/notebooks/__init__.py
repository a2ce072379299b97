"""Notebooks and the kernels that run them."""
