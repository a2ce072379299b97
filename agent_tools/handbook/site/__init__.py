"""The handbook as a web page: what the repository holds in Markdown and JSON, staged for Sphinx and built by it."""
