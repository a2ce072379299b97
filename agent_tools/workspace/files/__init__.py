"""Files: found by name, read by exact lines, shown as folders, packed into one document."""
