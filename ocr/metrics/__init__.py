"""Detection metrics: pure functions on polygons, counts in integers that add up exactly over images and shards."""
