"""The trainer: a cached, mixed-precision text detector. Knows nothing of the workbench, MCP or documents."""
