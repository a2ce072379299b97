"""Of all that changes below a root, what is the project's own: not ignored by git, not written by the tests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from agent_tools.workspace.git.runner import Repository, shown_lines
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

OWN_FOLDER = "outputs"
"""Never watched: the runs write there."""

_NEVER = re.compile(rf"^(?:{OWN_FOLDER}(?:/|$)|\.\.|pytest-cache-files-)")
"""The last are pytest's own, for a moment."""

LISTED_AT_ONCE = 200
"""Paths in one question to git; more are asked for in portions."""


class WatchedTree:
    """Tells what is the project's own among what changed."""

    def __init__(self, root: Root, repository: Repository | None) -> None:
        self.root, self.repository = root, repository
        self.ran = (0.0, 0.0)
        self.again = False

    @classmethod
    async def of(cls, root: Root) -> WatchedTree:
        """Read the repository, where there is one."""
        return cls(root, await Repository.open(root) if (root.path / ".git").exists() else None)

    async def own(self, paths: Iterable[str]) -> list[str]:
        """Return what changed of the project, relative to the root: nothing that git ignores or that the runs wrote."""
        relative = {os.path.relpath(path, self.root.path) for path in paths}
        kept = sorted(path for path in relative if not _NEVER.search(path))
        own = await self._known_to_git(kept) if self.repository else list(filter(self._is_content, kept))
        return [] if self._goes_round(own) else [shown(path) for path in own]

    async def _known_to_git(self, paths: list[str]) -> list[str]:
        portions = [paths[at : at + LISTED_AT_ONCE] for at in range(0, len(paths), LISTED_AT_ONCE)]
        return [path for portion in portions for path in await self._listed(portion)]

    async def _listed(self, paths: list[str]) -> list[str]:
        """What git lists of these: what it tracks or would track, the contents of folders too."""
        if self.repository is None or not paths:
            return []
        finished = await self.repository.attempt(
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths
        )
        listed = shown_lines(finished.output)
        return [path for path in paths if self._was_module(path) or any(_is_in(found, path) for found in listed)]

    def _is_content(self, path: str) -> bool:
        place = self.root.path / path
        if place.is_dir():
            # Of a folder that was moved here, nothing but the folder is told.
            return next(place.rglob("*.py"), None) is not None
        return place.exists() or bool(place.suffix)

    def _was_module(self, path: str) -> bool:
        return path.endswith(".py") and not (self.root.path / path).exists()

    def _goes_round(self, own: list[str]) -> bool:
        """Whether only tests changed these files, a second time: one that fails and writes would run for ever."""
        if own:
            written = all(self._may_be_written_by_tests(path) for path in own)
            self.again, before = written, self.again
            return written and before
        return False

    def _may_be_written_by_tests(self, path: str) -> bool:
        if path.endswith(".py"):
            return False
        try:
            return self.ran[0] <= (self.root.path / path).stat().st_mtime <= self.ran[1]
        except OSError:
            # It is gone: a temporary file, most likely.
            return True


def _is_in(found: str, path: str) -> bool:
    return found == path or found.startswith(f"{path}/")
