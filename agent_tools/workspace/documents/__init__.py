"""PDF and other documents: as Markdown, and single values from them."""
