"""DBNet: encoder, decoder, head, loss, and the way from maps to polygons."""
