"""Reading git without running anything that the repository names.

A repository can make `git status`, `diff` and `log` start programs (fsmonitor, hooks, clean filters, textconv,
external diff, gpg, lazy fetches, the same again inside submodules) and can point its work tree elsewhere. One runner
closes each of these doors; the tests plant a program behind every one.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.jobs.processes import Finished, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import Cursor, RepositoryText, ResponseFormat, offset, page
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

OLDEST_GIT = (2, 32)
"""The first that reads `GIT_CONFIG_GLOBAL`; an older one would read the user's own configuration."""

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
SECONDS = 20.0
OUTPUT_CAP = 4 << 20
LINE_CAP = 500

FIXED_SETTINGS = {
    "core.fsmonitor": "",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sshCommand": "",
    "core.alternateRefsCommand": "",
    "log.showSignature": "false",
    "diff.external": "",
    "diff.ignoreSubmodules": "dirty",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
    "color.ui": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "protocol.allow": "never",
}

_PROGRAM_SETTING = re.compile(
    r"filter\..*|diff\..*\.(?:command|textconv)|diff\.external|gpg\.(?:.*\.)?(?:program|defaultkeycommand)"
    r"|credential\.(?:.*\.)?helper|remote\..*\.(?:vcs|uploadpack|receivepack|promisor|partialclonefilter)"
    r"|merge\..*\.driver|core\.(?:gitproxy|askpass|editor)|pager\..*",
    re.IGNORECASE | re.DOTALL,
)

ENVIRONMENT = {
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_SEQUENCE_EDITOR": "true",
    "GIT_ASKPASS": "true",
    "SSH_ASKPASS": "true",
    "GIT_SSH_COMMAND": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}

_REVISION = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_./@{}^~+-]*")
_LOG_CURSOR = re.compile(r"([0-9a-f]{40,64}):(\d{1,9})")


class GitError(WorkbenchError):
    """A repository that is refused, a revision that does not exist, or a git that failed."""


@dataclass(frozen=True)
class Repository:
    """A repository whose configuration was read and disarmed."""

    root: Root
    settings: dict[str, str]

    @classmethod
    async def open(cls, root: Root) -> Repository:
        """Read the repository's own configuration and blank by name every setting that names a program.

        Raises:
            GitError: no repository at the root, one that leads out of it, or a git that is missing or too old.
        """
        if not (root.path / ".git").exists():
            raise GitError(f"{root.path.name} is not a git repository (it has no .git); `git init` makes it one.")
        _check_version()
        bare = cls(root, dict(FIXED_SETTINGS))
        await bare._check_folders()
        listing = shown_lines(await bare.run("config", "--list", "--includes", "-z"))
        settings = dict(FIXED_SETTINGS)
        for entry in listing:
            name, _, value = entry.partition("\n")
            if name.lower() == "core.worktree":
                _check_work_tree(root, value)
            if _PROGRAM_SETTING.fullmatch(name):
                settings[name] = "false" if name.endswith((".required", ".promisor")) else ""
        return cls(root, settings)

    async def run(self, *arguments: str) -> bytes:
        """Run one git command and return its output.

        Raises:
            GitError: it failed, took over its time, or said more than `OUTPUT_CAP`; git's first complaint is quoted.
        """
        output, cut = await self.run_to_cap(b"", *arguments)
        if cut:
            raise GitError(f"git {arguments[0]} said more than {OUTPUT_CAP >> 20} MiB; name paths.")
        return output

    async def run_to_cap(self, separator: bytes, *arguments: str) -> tuple[bytes, bool]:
        """Run one git command and return its output up to `OUTPUT_CAP` and whether it was cut.

        The entry that the cut went through is dropped; entries end with `separator`.

        Raises:
            GitError: it failed or took over its time; git's first line of complaint is quoted.
        """
        finished = await self.attempt(*arguments)
        if finished.timed_out:
            raise GitError(f"git {arguments[0]} took over {SECONDS:.0f} s; name fewer paths.")
        if finished.truncated:
            return (finished.output[: finished.output.rfind(separator) + 1] if separator else b""), True
        if finished.exit_code != 0:
            said = shown(finished.errors).strip().splitlines()
            raise GitError(f"git {arguments[0]} failed: {said[0] if said else f'exit code {finished.exit_code}'}.")
        return finished.output, False

    async def attempt(self, *arguments: str) -> Finished:
        """Run one git command and return however it ended."""
        return await run_bounded(
            ["git", "--no-pager", "--no-optional-locks", *arguments],
            folder=self.root.path,
            environment=self._environment(),
            seconds=SECONDS,
            output_cap=OUTPUT_CAP,
        )

    async def commit(self, revision: str) -> str:
        """Return the full id of the commit that `revision` names.

        Raises:
            GitError: written like an option or a path, or unknown; the nearest branches and tags are named.
        """
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise GitError(f"{revision!r} is not a revision; name a commit, branch or tag, or two as 'A..B'.")
        found = await self.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found.exit_code != 0:
            names = (await self.run("for-each-ref", "--format=%(refname:short)")).decode(errors="replace").split()
            close = difflib.get_close_matches(revision, names, n=3, cutoff=0.4) or names[:3]
            hint = f"the nearest are {', '.join(map(shown, close))}" if close else "there is no commit yet"
            raise GitError(f"There is no revision '{revision}': {hint}.")
        return found.output.decode().strip()

    async def head(self) -> str:
        """Return the id of the current commit, or '' before the first one."""
        return (await self.attempt("rev-parse", "--verify", "--quiet", "HEAD")).output.decode().strip()

    def _environment(self) -> dict[str, str]:
        # By variables, not with -c: there a '=' inside a driver's name would split the setting in the wrong place.
        numbered = {"GIT_CONFIG_COUNT": str(len(self.settings))}
        for index, (name, value) in enumerate(self.settings.items()):
            numbered[f"GIT_CONFIG_KEY_{index}"] = name
            numbered[f"GIT_CONFIG_VALUE_{index}"] = value
        # Named, not discovered: git can neither climb to a parent repository nor take a planted bare one.
        places = {"GIT_DIR": str(self.root.path / ".git"), "GIT_WORK_TREE": str(self.root.path)}
        return {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **places, **numbered}

    async def _check_folders(self) -> None:
        git_folder = self.root.path / ".git"
        if git_folder.is_dir() and not git_folder.is_symlink() and not (git_folder / "commondir").exists():
            return
        answer = await self.run("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
        own, common = (Path(os.path.realpath(line)) for line in os.fsdecode(answer).splitlines())
        if own.is_relative_to(self.root.path) and common.is_relative_to(self.root.path):
            return
        if not _is_linked_worktree(self.root.path, own, common):
            raise GitError("The repository's .git leads outside of the root, and no worktree there points back to it.")


@functools.cache
def _check_version() -> None:
    try:
        said = subprocess.run(["git", "version"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except OSError as error:
        raise GitError("git cannot be started; install git 2.32 or newer.") from error
    if tuple(map(int, re.findall(r"[0-9]+", said)[:2])) < OLDEST_GIT:
        raise GitError(f"{said.strip()} is too old to be used safely; install 2.32 or newer.")


def _is_linked_worktree(root: Path, own: Path, common: Path) -> bool:
    """`git worktree add` leaves a pointer in both directions; a planted `.git` file has only its own."""
    try:
        back = Path(os.path.realpath((own / "gitdir").read_text(encoding="utf-8").rstrip("\n")))
    except (OSError, UnicodeDecodeError):
        return False
    return own.parent == common / "worktrees" and back == root / ".git"


def _check_work_tree(root: Root, value: str) -> None:
    target = Path(os.path.realpath(root.path / ".git" / value))
    if not target.is_relative_to(root.path):
        raise GitError(
            "The repository's core.worktree leads outside of it; `git config --unset core.worktree` mends it."
        )


def shown_lines(output: bytes) -> list[str]:
    """Split NUL-separated output; names keep their exact bytes as surrogates so that they can be passed back."""
    return [os.fsdecode(part) for part in output.split(b"\0") if part]


class GitStatus(RepositoryText):
    """Where the tree stands. Entries are a state letter and a path, as `git status --short` has them."""

    branch: str
    commit: str = Field(description="'' before the first one")
    upstream: str
    ahead: int
    behind: int
    staged: list[str]
    unstaged: list[str]
    untracked: list[str]
    conflicted: list[str]
    omitted: int = Field(description="entries beyond limit")
    note: str

    def summary(self) -> str:
        """Say branch and counts, then the entries."""
        groups = {"staged": self.staged, "unstaged": self.unstaged, "untracked": self.untracked}
        groups["conflicted"] = self.conflicted
        counts = ", ".join(f"{len(entries)} {name}" for name, entries in groups.items() if entries) or "clean"
        more = f"; {self.omitted} more, raise limit" if self.omitted else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.branch} at {self.commit[:10] or 'no commit'}: {counts}{more}{note}"


async def git_status(
    root: Root,
    limit: Annotated[int, Field(ge=1, le=500, description="entries at most")] = 100,
    response_format: ResponseFormat = "concise",
) -> GitStatus:
    """Show branch, upstream and changed files: staged, unstaged, untracked, conflicted.

    Use it first to see what is uncommitted. Not for the changes themselves: git_diff. detailed lists every untracked
    file instead of whole new folders.
    """
    repository = await Repository.open(root)
    untracked = "all" if response_format == "detailed" else "normal"
    flags = ("--porcelain=v2", "--branch", "-z", f"--untracked-files={untracked}", "--ignore-submodules=dirty")
    output, cut = await repository.run_to_cap(b"\0", "status", *flags)
    return _parse_status(shown_lines(output), limit, _cut_note("list of files") if cut else "")


def _parse_status(entries: list[str], limit: int, note: str) -> GitStatus:
    head: dict[str, str] = {}
    groups: dict[str, list[str]] = {"staged": [], "unstaged": [], "untracked": [], "conflicted": []}
    rest = iter(entries)
    for entry in rest:
        kind, _, body = entry.partition(" ")
        if kind == "#":
            name, _, value = body.partition(" ")
            head[name] = value
        elif kind == "?":
            groups["untracked"].append(_name(body))
        elif kind == "u":
            groups["conflicted"].append(f"{body[:2]} {_name(body.split(' ', 9)[9])}")
        elif kind in ("1", "2"):
            origin = f" <- {_name(next(rest, '?'))}" if kind == "2" else ""
            _add_change(groups, body[:2], _name(body.split(" ", 7 if kind == "1" else 8)[-1]) + origin)
    kept, total = _cut(groups, limit), sum(map(len, groups.values()))
    ahead, behind = (head.get("branch.ab") or "+0 -0").split()
    return GitStatus(
        branch=shown(head.get("branch.head", "")),
        commit=head.get("branch.oid", "").replace("(initial)", ""),
        upstream=shown(head.get("branch.upstream", "")),
        ahead=int(ahead),
        behind=-int(behind),
        omitted=total - sum(map(len, kept.values())),
        conflicted=kept["conflicted"],
        staged=kept["staged"],
        unstaged=kept["unstaged"],
        untracked=kept["untracked"],
        note=note,
    )


def _add_change(groups: dict[str, list[str]], states: str, path: str) -> None:
    for group, state in zip(("staged", "unstaged"), states, strict=True):
        if state != ".":
            groups[group].append(f"{state} {path}")


def _cut(groups: dict[str, list[str]], limit: int) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}
    room = 30_000
    for name in ("conflicted", "staged", "unstaged", "untracked"):
        kept[name] = page(groups[name], 0, limit, room)[0] if limit > 0 and room > 0 else []
        limit -= len(kept[name])
        room -= sum(map(len, kept[name]))
    return kept


def _cut_note(what: str) -> str:
    return f"the {what} is cut at {OUTPUT_CAP >> 20} MiB and its rest missing; name paths in git_diff"


def _name(raw: str) -> str:
    return shown(os.fsencode(raw)).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


class GitDiff(RepositoryText):
    """What changed: a count per file and, when detailed, one page of the patch."""

    compared: str
    files: list[str] = Field(description="'added deleted path'; '-' for binary")
    patch: str
    patch_lines: int = Field(description="lines of the whole patch")
    next_cursor: str
    note: str

    def summary(self) -> str:
        """Say the number of files and lines."""
        more = f"; go on with cursor={self.next_cursor}" if self.next_cursor else ""
        shown_part = f", {len(self.patch.splitlines())} of {self.patch_lines} patch lines" if self.patch_lines else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.compared}: {len(self.files)} files{shown_part}{more}{note}"


async def git_diff(
    root: Root,
    paths: Annotated[tuple[str, ...], Field(description="only these files or folders")] = (),
    revision: Annotated[str, Field(description="commit to compare the work tree with, or 'A..B', 'A...B'")] = "HEAD",
    staged: Annotated[bool, Field(description="compare the index instead of the work tree")] = False,
    limit: Annotated[int, Field(ge=1, le=2000, description="patch lines at most")] = 400,
    cursor: Cursor = "",
    response_format: ResponseFormat = "detailed",
) -> GitDiff:
    """Show what changed, against a commit (uncommitted work by default) or between two commits.

    Use concise first on a large change, then name paths. Untracked files are not in it: git_status lists them.
    """
    repository = await Repository.open(root)
    compared, targets = await _targets(repository, revision, staged)
    pathspecs = ["--", *_pathspecs(root, paths)]
    flags = ["--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short", "--ignore-submodules=dirty", *targets]
    numbers, cut = await repository.run_to_cap(b"\0", "diff", "--numstat", "-z", *flags, *pathspecs)
    lines: list[str] = []
    if response_format == "detailed":
        patch, patch_cut = await repository.run_to_cap(b"\n", "diff", "--patch", *flags, *pathspecs)
        lines, cut = shown(patch).split("\n")[:-1], cut or patch_cut
    kept, following = page([_short(line) for line in lines], offset(cursor), limit)
    files, _ = page(_parse_numstat(shown_lines(numbers)), 0, 200, 10_000)
    return GitDiff(
        compared=compared,
        files=files,
        patch="\n".join(kept),
        patch_lines=len(lines),
        next_cursor=following,
        note=_cut_note("diff") if cut else "",
    )


async def _targets(repository: Repository, revision: str, staged: bool) -> tuple[str, list[str]]:
    """What is compared, in words and as arguments; only full ids reach git."""
    parts = re.fullmatch(r"(.+?)(\.{2,3})(.+)", revision)
    if parts:
        if staged:
            raise GitError(f"staged compares the index with one commit, but '{revision}' names two; leave one out.")
        first, second = await repository.commit(parts[1]), await repository.commit(parts[3])
        return revision, [f"{first}{parts[2]}{second}"]
    unborn = revision == "HEAD" and not await repository.head()
    base = EMPTY_TREE if unborn else await repository.commit(revision)
    side = "index" if staged else "work tree"
    return f"{side} against {'nothing' if unborn else revision}", [*(["--cached"] if staged else []), base]


def _pathspecs(root: Root, paths: Sequence[str]) -> list[str]:
    specs = []
    for text in paths:
        resolved = root.resolve(text, must_exist=False)
        # As written, not as resolved: a tracked link is itself the thing that changed.
        lexical = Path(os.path.normpath(root.path / text))
        specs.append(root.relative(lexical if lexical.is_relative_to(root.path) else resolved))
    return specs


def _parse_numstat(entries: list[str]) -> list[str]:
    rows = []
    rest = iter(entries)
    for entry in rest:
        added, deleted, path = entry.split("\t", 2)
        if not path:
            path = f"{next(rest, '?')} -> {next(rest, '?')}"
        rows.append(f"{added} {deleted} {_name(path)}")
    return rows


def _short(line: str) -> str:
    return line if len(line) <= LINE_CAP else f"{line[:LINE_CAP]}... [{len(line) - LINE_CAP} characters more]"


class GitLog(RepositoryText):
    """Commits, newest first."""

    commits: list[dict[str, str]] = Field(description="commit, date, subject; detailed: author, refs, body")
    next_cursor: str

    def summary(self) -> str:
        """Say one line per commit."""
        lines = [f"{c['commit'][:10]} {c['date'][:10]} {c['subject'][:100]}" for c in self.commits]
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        return "\n".join([*lines, *more]) or "no commits"


async def git_log(
    root: Root,
    paths: Annotated[tuple[str, ...], Field(description="only commits that touch these")] = (),
    revision: Annotated[str, Field(description="start here")] = "HEAD",
    limit: Annotated[int, Field(ge=1, le=100, description="commits at most")] = 20,
    cursor: Cursor = "",
    response_format: ResponseFormat = "concise",
) -> GitLog:
    """List commits, newest first.

    Use it to see what was done lately or what touched a file. For a commit's changes: git_diff with
    revision 'ID^..ID'.
    """
    repository = await Repository.open(root)
    if not cursor and revision == "HEAD" and not await repository.head():
        return GitLog(commits=[], next_cursor="")
    start, skip = await _log_start(repository, revision, cursor)
    names = ("commit", "date", "subject", "author", "refs", "body")[: 3 if response_format == "concise" else 6]
    codes = {"commit": "%H", "date": "%aI", "subject": "%s", "author": "%an", "refs": "%D", "body": "%b"}
    form = "%x00".join(codes[name] for name in names)
    flags = ("--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color", "-z", f"--format={form}")
    window = (f"--max-count={limit + 1}", f"--skip={skip}", start, "--", *_pathspecs(root, paths))
    output, cut = await repository.run_to_cap(b"\0", "log", *flags, *window)
    commits = _parse_log(output, names)
    kept = _fit(commits[:limit])
    if cut and not kept:
        raise GitError(f"The message of one commit is over {OUTPUT_CAP >> 20} MiB; ask for concise, or name paths.")
    following = f"{start}:{skip + len(kept)}" if cut or len(commits) > len(kept) else ""
    return GitLog(commits=kept, next_cursor=following)


async def _log_start(repository: Repository, revision: str, cursor: str) -> tuple[str, int]:
    if not cursor:
        return await repository.commit(revision), 0
    match = _LOG_CURSOR.fullmatch(cursor)
    if not match:
        raise GitError(f"'{cursor}' is no cursor of git_log; pass next_cursor of the page before.")
    return await repository.commit(match[1]), int(match[2])


def _parse_log(output: bytes, names: Sequence[str]) -> list[dict[str, str]]:
    # Each field ends with a NUL, so what follows the last one is not a field.
    fields = [shown(part).strip() for part in output.split(b"\0")[:-1]]
    rows = [fields[index : index + len(names)] for index in range(0, len(fields) - len(names) + 1, len(names))]
    return [{name: value for name, value in zip(names, row, strict=True) if value or name != "refs"} for row in rows]


def _fit(commits: list[dict[str, str]]) -> list[dict[str, str]]:
    cut = [{name: value[:2000] for name, value in commit.items()} for commit in commits]
    kept, _ = page(["".join(commit.values()) for commit in cut], 0, len(cut))
    return cut[: len(kept)]
