"""The workbench: starts the trainer as a process, reads what it wrote, and turns records into documents."""
