"""What the other rooms of the trainer stand on: cache files, decoders, geometry, digests, errors."""
