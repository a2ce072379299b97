"""The sides of a comparison, made ready: what each one is, in which folder it runs, and that it runs its own code."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_tools.measure.command_target import command_environment, is_python
from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.environments import interpreter_for, refuse_other_packages, requirements_hash
from agent_tools.measure.targets import Place, split_words
from agent_tools.measure.worktrees import WORKTREE, Snapshot, checked_out, take_snapshot
from agent_tools.records.compared import Side
from agent_tools.records.fingerprints import strip_private
from agent_tools.records.store import ID_PATTERN

DEFAULTS = "defaults"
"""The word for a configuration side without overrides."""

PROBE_SECONDS = 60

_PROBE = """
import importlib.util, json, sys
if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])
found = {}
for name in sys.argv[2:]:
    spec = importlib.util.find_spec(name)
    if spec is not None:
        found[name] = spec.origin or (list(spec.submodule_search_locations or []) or [""])[0]
print(json.dumps(found))
"""

SideKind = Literal["revision", "configuration", "record"]


@dataclass(frozen=True)
class SideRequest:
    """One side as the caller wrote it."""

    kind: SideKind
    text: str

    @property
    def words(self) -> list[str]:
        """The overrides or arguments of a configuration side."""
        return [] if self.kind != "configuration" or self.text == DEFAULTS else split_words(self.text)


def parse_side(text: str) -> SideRequest:
    """Return what a side's text means: a record's id, a configuration, or a revision.

    `KEY=VALUE ...`, `defaults` and words that begin with `-` or `+` are configurations; the id of a record is a record;
    anything else is a revision (`worktree` is the tree as it is).
    """
    plain = text.strip()
    if ID_PATTERN.fullmatch(plain):
        return SideRequest("record", plain)
    if plain == DEFAULTS or "=" in plain or plain.startswith(("-", "+", "~")):
        return SideRequest("configuration", plain)
    return SideRequest("revision", plain or WORKTREE)


def check_kinds(a: SideRequest, b: SideRequest) -> SideKind:
    """Return the kind that both sides have.

    Raises:
        NotComparable: a revision against a configuration, or the like: the treatment would be two things at once.
    """
    if a.kind != b.kind:
        raise NotComparable(
            f"treatment: '{a.text}' is a {a.kind} and '{b.text}' a {b.kind}; compare two of one kind, so that one "
            "thing differs. Configurations are measured in the tree as it is."
        )
    return a.kind


@contextlib.contextmanager
def places(
    root: Path, sides: Sequence[Side], snapshots: Sequence[Snapshot], folder: Path, say: Callable[[str], None]
) -> Iterator[list[Place]]:
    """Check every side out below `folder` and yield where each one runs; sides of one snapshot share a folder.

    Raises:
        NotComparable: an installed package would be measured instead of the side's own code.
        RequirementsError: the packages that a side pins cannot be installed, or others are.
        RevisionError: a side cannot be checked out.
    """
    with contextlib.ExitStack() as trees:
        folders: dict[str, Path] = {}
        found = []
        for side, snapshot in zip(sides, snapshots, strict=True):
            if snapshot.commit not in folders:
                tree = folder / f"tree-{len(folders)}"
                folders[snapshot.commit] = trees.enter_context(checked_out(root, snapshot, tree))
            tree = folders[snapshot.commit]
            python = interpreter_for(tree, root, say)
            refuse_other_packages(tree, python, f"side {side.name} ({side.title})")
            found.append(Place(side, tree, python))
        yield found


def make_sides(
    root: Path, requests: Sequence[SideRequest], names: Sequence[str], folder: Path
) -> tuple[list[Side], list[Snapshot]]:
    """Return the sides of revisions or configurations with the snapshots that they run in.

    Raises:
        RevisionError: no such revision.
    """
    snapshots = [take_snapshot(root, WORKTREE if one.kind == "configuration" else one.text) for one in requests]
    pinned: dict[str, str] = {}
    for snapshot in snapshots:
        if snapshot.commit not in pinned:
            with checked_out(root, snapshot, folder / "pins") as tree:
                pinned[snapshot.commit] = requirements_hash(tree)
    sides = [
        Side(
            name=name,
            title=strip_private(snapshot.title if request.kind == "revision" else request.text, root),
            commit=snapshot.base,
            tree=snapshot.tree,
            dirty=snapshot.dirty,
            overrides=strip_private(request.words, root),
            environment=pinned[snapshot.commit],
        )
        for name, request, snapshot in zip(names, requests, snapshots, strict=True)
    ]
    return sides, snapshots


def refuse_other_files(root: Path, place: Place, command: Sequence[str]) -> None:
    """Refuse a command with words that name a file of the repository itself and not of the side's tree.

    Raises:
        NotComparable: such a script would be the same for both sides, whatever their revisions hold.
    """
    for word in command:
        path = Path(word)
        if path.is_absolute() and path.is_relative_to(root) and (place.tree / path.relative_to(root)).exists():
            raise NotComparable(
                f"command: {path.relative_to(root)} is named by its absolute path, so both sides would use the same "
                "file; name it relative to the repository."
            )


def refuse_other_code(place: Place, command: Sequence[str] = ()) -> None:
    """Refuse a side whose interpreter would import the tree's packages from somewhere else.

    Args:
        place: the side.
        command: the words of a command target; interpreter options in it (`-I`, `-E`) count.

    Raises:
        NotComparable: a top-level package of the tree comes from another folder, such as an editable install.
    """
    packages = sorted(
        path.parent.name for path in (*place.tree.glob("*/__init__.py"), *place.tree.glob("src/*/__init__.py"))
    )
    if not packages or (command and not is_python(command[0])):
        return
    options = _interpreter_options(command)
    asked = [place.python, *options, "-P", "-c", _PROBE, _script_folder(place.tree, command, options), *packages]
    done = subprocess.run(
        asked,
        cwd=place.tree,
        env=command_environment(place.tree),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise NotComparable(
            f"environment: the interpreter of side {place.side.name} does not start: {done.stderr[-300:]}"
        )
    tree = place.tree.resolve()
    for name, origin in json.loads(done.stdout.splitlines()[-1]).items():
        if not Path(origin).resolve().is_relative_to(tree):
            raise NotComparable(
                f"{name}.__file__: side {place.side.name} would import it from {Path(origin).parent.parent.name}/"
                f"{name}, outside of its own tree, so both sides would run the same code; uninstall the editable "
                "package, or leave out interpreter options such as -I."
            )


def _script_folder(tree: Path, command: Sequence[str], options: Sequence[str]) -> str:
    """What Python itself puts first on the path for such a command: the script's folder, the working folder for -m."""
    if any(letter in option for option in options for letter in "IP"):
        return ""
    words = command[1 + len(options) :]
    return str(tree) if not words or words[0].startswith("-") else str((tree / words[0]).parent)


def _interpreter_options(command: Sequence[str]) -> list[str]:
    options = []
    for word in command[1:]:
        if not re.fullmatch(r"-[bBdEIOPqsSuv]+", word):
            break
        options.append(word)
    return options
