"""A run on top of Lightning: loaders, module, stage clock, replay, feature check, run file."""
