"""Code and documents found by question, and uses by name, over an index that follows the files."""
