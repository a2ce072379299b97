"""A test file to begin with, made from a signature and a docstring; the code itself is only read."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from agent_tools.results import PAGE_CHARACTERS, RepositoryText
from agent_tools.workspace.root import Root
from agent_tools.workspace.testing.python_targets import SourceModule, TargetError, find_target
from agent_tools.workspace.testing.skeleton_text import Skeleton
from agent_tools.workspace.untrusted import shown


class SkeletonResult(RepositoryText):
    """The text of a test file, and where it belongs."""

    path: str = Field(description="where it belongs")
    exists: bool = Field(description="that file was there before")
    written: bool
    tests: list[str]
    omitted: int = Field(description="tests beyond limit")
    text: str

    def summary(self) -> str:
        """Say where it belongs, whether it was written, and the names of the tests."""
        state = "written" if self.written else "exists already; add what is missing" if self.exists else "not written"
        more = [f"{self.omitted} more; name a method, or raise limit"] if self.omitted else []
        return "\n".join([f"{self.path}: {state}", *self.tests, *more])


def make_skeleton(
    root: Root,
    target: Annotated[str, Field(description="like pkg/module.py::function, ::Class.method, or a dotted path")],
    write: Annotated[bool, Field(description="write the file if there is none")] = False,
    limit: Annotated[int, Field(ge=1, le=60, description="tests at most")] = 20,
) -> SkeletonResult:
    """Make a runnable test file for a function, method or class from its signature and docstring; nothing is executed.

    Use it before writing tests. Every test fails with a TODO until it says what must hold. Not for running: test_run.

    Raises:
        TargetError: the target cannot be found, parsed or imported by name.
        RootError: a path outside of the root, or one that does not exist.
    """
    module, names = find_target(root, target)
    skeleton = Skeleton(module)
    for one in module.targets(names):
        skeleton.add(one)
    omitted = _cut(skeleton, limit)
    text = skeleton.text(f"{shown('.'.join(names))} of {module.name}")
    place = _place(root, module)
    exists = os.path.lexists(place)
    if write and not exists:
        _write(root, place, text)
    return SkeletonResult(
        path=root.relative(place),
        exists=exists,
        written=write and not exists,
        tests=list(skeleton.tests),
        omitted=omitted,
        text=text,
    )


def _cut(skeleton: Skeleton, limit: int) -> int:
    """Leave out tests beyond `limit` or beyond the room of a page; return how many."""
    kept: dict[str, list[str]] = {}
    room = PAGE_CHARACTERS - sum(len(line) + 1 for block in skeleton.fixtures.values() for line in block)
    for name, block in skeleton.tests.items():
        room -= sum(len(line) + 1 for line in block)
        if kept and (room < 0 or len(kept) == limit):
            break
        kept[name] = block
    omitted = len(skeleton.tests) - len(kept)
    skeleton.tests = kept
    return omitted


def _place(root: Root, module: SourceModule) -> Path:
    """Where a test of the module belongs: where one is, else mirrored below `tests/`."""
    parts = PurePosixPath(*module.name.split("."))
    file = f"test_{parts.name}.py"
    mirrored = PurePosixPath("tests", *parts.parts[:-1], file)
    shorter = PurePosixPath("tests", *parts.parts[1:-1], file)
    beside = PurePosixPath(root.relative(module.path)).with_name(file)
    wanted = [root.resolve(str(path), must_exist=False) for path in dict.fromkeys((mirrored, shorter, beside))]
    there = [path for path in wanted if path.exists()]
    # Flat folders of tests are used where they are in use.
    used = [path for path in wanted[:-1] if any(path.parent.glob("test_*.py"))]
    return [*there, *used, wanted[0]][0]


def _write(root: Root, place: Path, text: str) -> None:
    tests = root.path / place.relative_to(root.path).parts[0]
    missing = [folder for folder in place.parents if folder.is_relative_to(tests) and not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if (tests / "__init__.py").exists():
            for folder in missing:
                (folder / "__init__.py").touch()
        # Never over a file that came meanwhile.
        with place.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise TargetError(f"{root.relative(place)} cannot be written ({error.strerror}).") from error
