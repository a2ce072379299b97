"""The entry point of the trainer."""
