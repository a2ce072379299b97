"""Git as tools that read: status, diff and log, each a page at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, ResponseFormat, offset, page
from agent_tools.workspace.git.entries import parse_status, pathspecs
from agent_tools.workspace.git.runner import OUTPUT_CAP, GitError, Repository, shown_lines
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown, shown_name

LINE_CAP = 500
HEAD = "HEAD"
"""Needs no process of its own to be looked up; where there is no commit yet, git fails and says so."""
DIFF_FLAGS = ("--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short", "--ignore-submodules=dirty")

_LOG_CURSOR = re.compile(r"([0-9a-f]{40,64}):(\d{1,9})")


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
    return _status(shown_lines(output), limit, _cut_note("list of files") if cut else "")


def _status(lines: list[str], limit: int, note: str) -> GitStatus:
    groups: dict[str, list[str]] = {"staged": [], "unstaged": [], "untracked": [], "conflicted": []}
    head, entries = parse_status(lines)
    for entry in entries:
        name = shown_name(entry.path)
        if entry.kind == "?":
            groups["untracked"].append(name)
        elif entry.kind == "u":
            groups["conflicted"].append(f"{entry.states} {name}")
        else:
            origin = f" <- {shown_name(entry.origin)}" if entry.origin else ""
            _add_change(groups, entry.states, name + origin)
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


class GitDiff(RepositoryText):
    """What changed: a count per file and, when detailed, one page of the patch; all of it is in the file `kept`."""

    compared: str
    files: list[str] = Field(description="'added deleted path'; '-' for binary")
    patch: str
    patch_lines: int = Field(description="lines of the whole patch")
    next_cursor: str
    kept: str
    note: str

    def summary(self) -> str:
        """Say the number of files and lines."""
        more = f"; go on with cursor={self.next_cursor}" if self.next_cursor else ""
        more += f"; whole in {self.kept}" if self.kept else ""
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
    wanted = ["--numstat", *(["--patch"] if response_format == "detailed" else [])]
    specs = ["--", *pathspecs(root, paths)]
    try:
        output, cut = await repository.run_to_cap(b"\n", "diff", *wanted, *DIFF_FLAGS, *targets, *specs)
    except GitError:
        if targets[-1] != HEAD or await repository.head():
            raise
        compared, targets = compared.replace(HEAD, "nothing"), [*targets[:-1], repository.empty_tree]
        output, cut = await repository.run_to_cap(b"\n", "diff", *wanted, *DIFF_FLAGS, *targets, *specs)
    numbers, _, patch = output.partition(b"\n\n")
    lines = shown(patch).split("\n")[:-1]
    part, following = page([_short(line) for line in lines], offset(cursor), limit)
    counted = _parse_numstat(numbers)
    files, _ = page(counted, 0, 200, 10_000)
    is_whole = not following and not cursor and all(len(line) <= LINE_CAP for line in lines)
    return GitDiff(
        compared=compared,
        files=files,
        patch="\n".join(part),
        patch_lines=len(lines),
        next_cursor=following,
        kept="" if is_whole else _kept(root, lines),
        note="; ".join(filter(None, [_cut_note("diff") if cut else "", _more_files(len(counted) - len(files))])),
    )


def _more_files(count: int) -> str:
    return f"{count} more files changed; name paths to see them" if count else ""


def _kept(root: Root, lines: list[str]) -> str:
    # A page of a diff is worth having where nothing can be written.
    with suppress(OSError):
        return keep(root, "diff.patch", "\n".join([*lines, ""]))
    return ""


async def _targets(repository: Repository, revision: str, staged: bool) -> tuple[str, list[str]]:
    """What is compared, in words and as arguments; only HEAD and full ids reach git."""
    parts = re.fullmatch(r"(.+?)(\.{2,3})(.+)", revision)
    if parts:
        if staged:
            raise GitError(f"staged compares the index with one commit, but '{revision}' names two; leave one out.")
        first, second = await repository.commit(parts[1]), await repository.commit(parts[3])
        return revision, [f"{first}{parts[2]}{second}"]
    side = "index" if staged else "work tree"
    options = ["--cached"] if staged else []
    base = HEAD if revision == HEAD else await repository.commit(revision)
    return f"{side} against {revision}", [*options, base]


def _parse_numstat(output: bytes) -> list[str]:
    """Rows of `added deleted path`: names with control characters as git quotes them, renames as `{old => new}`."""
    return [shown(line).replace("\t", " ") for line in output.split(b"\n") if line]


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
    start, skip = await _log_start(repository, revision, cursor)
    names = ("commit", "date", "subject", "author", "refs", "body")[: 3 if response_format == "concise" else 6]
    codes = {"commit": "%H", "date": "%aI", "subject": "%s", "author": "%an", "refs": "%D", "body": "%b"}
    form = "%x00".join(codes[name] for name in names)
    flags = ("--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color", "-z", f"--format={form}")
    window = (f"--max-count={limit + 1}", f"--skip={skip}", start, "--", *pathspecs(root, paths))
    try:
        output, cut = await repository.run_to_cap(b"\0", "log", *flags, *window)
    except GitError:
        if start != HEAD or await repository.head():
            raise
        return GitLog(commits=[], next_cursor="")
    commits = _parse_log(output, names)
    kept = _fit(commits[:limit])
    if cut and not kept:
        raise GitError(f"The message of one commit is over {OUTPUT_CAP >> 20} MiB; ask for concise, or name paths.")
    # A page names the commit that it starts from: HEAD may be another one when the next page is asked for.
    start = commits[0]["commit"] if start == HEAD and commits else start
    following = f"{start}:{skip + len(kept)}" if cut or len(commits) > len(kept) else ""
    return GitLog(commits=kept, next_cursor=following)


async def _log_start(repository: Repository, revision: str, cursor: str) -> tuple[str, int]:
    """A commit and how many to skip."""
    if not cursor:
        return HEAD if revision == HEAD else await repository.commit(revision), 0
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
