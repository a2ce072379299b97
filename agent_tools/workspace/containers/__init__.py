"""Images and containers of a Docker engine."""
