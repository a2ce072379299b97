"""The one path resolver: whatever a caller names lies inside the root, or is refused with a sentence."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent_tools.records.errors import WorkbenchError

LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""
LONGEST_PATH = 4096
"""Bytes of a path, as Linux has it."""


class RootError(WorkbenchError):
    """A path that may not be used, or a root that cannot be one."""


@dataclass(frozen=True)
class Root:
    """A repository and, beside it, the folders that data may be read from (never written).

    Attributes:
        path: absolute, without symbolic links.
        data: absolute folders outside of `path` that the person who started the program allowed.
    """

    path: Path
    data: tuple[Path, ...] = ()

    @classmethod
    def at(cls, folder: Path, data: tuple[Path, ...] = ()) -> Root:
        """Use exactly this folder.

        Raises:
            RootError: one of the folders does not exist.
        """
        for given in (folder, *data):
            if not given.is_dir():
                raise RootError(f"{given} is not a folder; name an existing one.")
        return cls(folder.resolve(), tuple(given.resolve() for given in data))

    @classmethod
    def around(cls, folder: Path, data: tuple[Path, ...] = ()) -> Root:
        """Use the repository that `folder` lies in, or the unpacked archive of one (known by its pyproject.toml).

        Raises:
            RootError: neither is there; the root is never "anywhere".
        """
        above = (folder.resolve(), *folder.resolve().parents)
        for marker in (".git", "pyproject.toml"):
            for candidate in above:
                if (candidate / marker).exists():
                    return cls.at(candidate, data)
        raise RootError(f"{folder} lies in no repository; start inside one or name one with --root PATH.")

    def resolve(self, text: str, *, must_exist: bool = True) -> Path:
        """Return the absolute path of a file or folder inside the root.

        Args:
            text: relative to the root, or absolute and inside it.
            must_exist: refuse what does not exist, naming the nearest name that does.

        Raises:
            RootError: outside of the root in any way, or written so that a program could misread it.
        """
        _check_text(text)
        path = self._inside(text, (self.path,))
        if must_exist and not path.exists():
            raise RootError(f"'{text}' does not exist{_nearest(path, self.path)}.")
        return path

    def resolve_data(self, text: str) -> Path:
        """Return the absolute path of data to read: inside the root or one of the `data` folders.

        Raises:
            RootError: the path is in none of them.
        """
        if not text or not text.isprintable():
            raise RootError(f"{text!r} is not a path: it is empty or has unprintable characters.")
        return self._inside(text, (self.path, *self.data))

    def relative(self, path: Path) -> str:
        """Return a resolved path as it is shown to callers: relative to the root, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    def _inside(self, text: str, allowed: tuple[Path, ...]) -> Path:
        try:
            path = Path(os.path.realpath(self.path / text))
            _check_length(path)
        except (OSError, ValueError) as error:
            raise RootError(f"{text[:200]!r} is not a path that can be looked up.") from error
        if any(path.is_relative_to(folder) for folder in allowed):
            return path
        hint = ", or data in a folder named with `serve --data`" if len(allowed) > 1 or self.data else ""
        raise RootError(f"'{text}' leads outside of the repository; name a path inside it{hint}.")


def _check_text(text: str) -> None:
    if not text or not text.isprintable():
        raise RootError(f"{text!r} is not a path: it is empty or has unprintable characters; name a file or folder.")
    if text.startswith("-"):
        raise RootError(f"'{text}' starts with '-', so a program could take it for an option; write './{text}'.")
    if text.startswith(":"):
        raise RootError(f"'{text}' starts with ':', which git reads as pathspec magic; name a plain path.")
    if ".." in PurePosixPath(text).parts:
        raise RootError(f"'{text}' contains '..'; name the path from the repository's top without it.")


def _check_length(path: Path) -> None:
    # What is to be made would otherwise fail where it is made.
    if len(os.fsencode(path)) >= LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise RootError(f"'{path.name[:60]}...' is longer than a path can be; name an existing file or a shorter one.")


def _nearest(path: Path, root: Path) -> str:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    names = os.listdir(folder)
    close = difflib.get_close_matches(path.relative_to(folder).parts[0], names, n=3, cutoff=0.5)
    shown = ", ".join(f"'{(folder / name).relative_to(root).as_posix()}'" for name in close)
    return f"; the nearest there: {shown}" if close else ""
