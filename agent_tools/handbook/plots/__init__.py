"""The drawings of the documents, as SVG."""
