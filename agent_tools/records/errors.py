"""The one family of errors that the workbench raises on purpose."""


class WorkbenchError(Exception):
    """A sentence for the caller: what was wrong, which value, what is allowed, what to do next."""
