"""Hydra overrides of a caller: they may set values, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.root import Root

Overrides = Annotated[tuple[str, ...], Field(description="Hydra overrides, KEY=VALUE")]

_OVERRIDE = re.compile(r"(?:\+{0,2}|~)(?P<key>[A-Za-z_][\w./@-]*)(?:=(?P<value>.*))?")
_WRITTEN = re.compile(
    r"(?:.*\.)?cache_dir|synthetic(?:\.root)?|trainer(?:\.default_root_dir)?|logger(?:[./].*)?|callbacks(?:[./].*)?"
)
"""Keys under which the trainer writes: their paths must lie in the root, even where data may be read anywhere."""

_WRITTEN_INSIDE = re.compile(r"\b(?:cache_dir|default_root_dir|dirpath|save_dir|root)\s*:")

_OWN_KEYS = ("run_id", "output_dir", "hydra")


class OverrideError(WorkbenchError):
    """An override that could do more than set a value."""


def check_overrides(root: Root, overrides: Sequence[str]) -> list[str]:
    """Return the overrides if they only set values: no code by name, no environment, no path outside of the root.

    Raises:
        OverrideError: an override that could do more than set a value, or that the workbench sets itself.
        RootError: a value that is a path outside of the root and of the allowed data folders.
    """
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        if not match or not override.isprintable():
            raise OverrideError(f"{override!r} is not an override; write KEY=VALUE, such as trainer.max_epochs=2.")
        key, value = match["key"], match["value"] or ""
        if key.split(".")[0].split("/")[0] in _OWN_KEYS:
            raise OverrideError(f"'{key}' is set by the workbench itself; leave it out.")
        if "_target_" in override or "${" in override:
            raise OverrideError(f"'{override}' names code or an interpolation; put that into a file under configs/.")
        written = _WRITTEN.fullmatch(key) is not None or _WRITTEN_INSIDE.search(value) is not None
        for word in re.split(r"[\s,;:=\[\]{}()'\"]+", value):
            _check_word(root, key, word, written)
    return list(overrides)


def _check_word(root: Root, key: str, word: str, written: bool) -> None:
    if not word or not ("/" in word or word.startswith("~") or word == ".." or (root.path / word).is_symlink()):
        return
    if word.startswith("~"):
        raise OverrideError(f"{key}: '{word}' starts with '~', which nobody expands here; write the path in full.")
    if written:
        root.resolve(word, must_exist=False)
    else:
        root.resolve_data(word)
