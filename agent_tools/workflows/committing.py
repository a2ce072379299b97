"""Committing: what our git hooks would do, done by the tool itself, for it runs no hook of the repository."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agent_tools.jobs.processes import PROGRAM, Finished, own_module, run_bounded
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import RepositoryText, page
from agent_tools.workflows.commit_messages import structured_message
from agent_tools.workspace.git.entries import listed
from agent_tools.workspace.git.hooks import foreign_hooks
from agent_tools.workspace.git.identity import author_variables, user_settings
from agent_tools.workspace.git.runner import Repository, shown_lines
from agent_tools.workspace.git.writing import Proposal, check_out, make_commit, propose
from agent_tools.workspace.root import Root
from agent_tools.workspace.search.index import refresh
from agent_tools.workspace.untrusted import shown, shown_name

CHECK_SECONDS = 120.0
PROBLEMS_SHOWN = 5

_OUR_FOLDERS = re.compile(r"docs/ai_handbook|logs/[^/]+/records")


class CommitRefused(WorkbenchError):
    """Documents that would not agree with their records after the commit, or that could not be checked."""


class GitCommitted(RepositoryText):
    """A commit that was made."""

    commit: str
    files: list[str]
    note: str = ""

    def summary(self) -> str:
        """Say the id and what is to be known."""
        return f"{self.commit[:10]} {self.note}".rstrip()


async def git_commit(
    root: Root,
    paths: tuple[str, ...],
    type: Annotated[str, Field(description="feat, fix...")],
    summary: str,
    why: tuple[str, ...],
    records: tuple[str, ...] = (),
    findings: tuple[str, ...] = (),
) -> GitCommitted:
    """Commit exactly these paths, if the documents are fresh. Use it after tests.

    Raises:
        CommitRefused: the documents would be stale; docs_render mends them.
        GitError: nothing to commit, a path that cannot be, no branch, a merge in progress, or nobody who commits.
        MessageError: what was given makes no structured message.
    """
    named = [root.relative(root.resolve(path)) for path in findings]
    message = structured_message(root.path, type, summary, why, records, named)
    settings = await user_settings(root)
    author = author_variables(settings)
    repository = await Repository.open(root)
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as text:
        folder = Path(text)
        proposal = await propose(repository, paths, folder)
        unchecked = await _check_documents(root, proposal, folder / "tree")
        # Before the commit: once it is made, nothing may end in an error.
        hooks, unsigned = await _unrun_hooks(repository, settings), _unsigned(settings)
        commit = await make_commit(proposal, message, author, folder)
    unindexed = await _refresh_search_index(root)
    notes = [_counted(proposal), unchecked, _unfiltered(proposal.filters), hooks, unsigned, unindexed]
    files, _ = page([f"{letter} {shown_name(path)}" for letter, path in proposal.files], 0, 200, 10_000)
    return GitCommitted(commit=commit, files=files, note="; ".join(filter(None, notes)))


def _counted(proposal: Proposal) -> str:
    return f"on {shown(proposal.branch)}: {len(proposal.files)} files"


async def _refresh_search_index(root: Root) -> str:
    """Let the search index learn of the commit, as the post-commit hook does; say so where it cannot."""
    try:
        return (await refresh(root)).note
    except WorkbenchError as error:
        return f"the search index was not refreshed: {error}"


# --- the documents -----------------------------------------------------------------------------------------------


async def _check_documents(root: Root, proposal: Proposal, tree: Path) -> str:
    """Check the documents that the commit would hold; return a note if that was not possible.

    Raises:
        CommitRefused: they do not agree with their records, or the check failed.
    """
    if not await _has_documents(proposal):
        return ""
    tree.mkdir()
    await check_out(proposal, tree)
    # The program in the tree makes its documents. It is run only if it is the one that runs now: any other is a
    # program that a repository names.
    is_own = root.path == Path(PROGRAM)
    if (tree / "agent_tools" / "cli.py").exists() and not is_own:
        return "the documents were not checked: this repository has an agent_tools of its own; start the server from it"
    finished = await run_bounded(
        [*own_module("agent_tools.cli"), "--root", str(tree), "docs", "check", "--json"],
        folder=tree.parent,
        environment=_environment(tree if is_own else Path(PROGRAM)),
        seconds=CHECK_SECONDS,
        output_cap=1 << 20,
    )
    answer = _answer(finished)
    if not answer["ok"]:
        raise CommitRefused(_stale(answer))
    return ""


async def _has_documents(proposal: Proposal) -> bool:
    flags = ("-r", "-d", "-z", "--name-only")
    places = await proposal.repository.run("ls-tree", *flags, proposal.tree, "--", "docs", "logs")
    return any(_OUR_FOLDERS.fullmatch(path) for path in shown_lines(places))


def _environment(program: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "PYTHONPATH": str(program)}


def _answer(finished: Finished) -> dict[str, Any]:
    lines = finished.output.splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if "ok" in answer:
        return dict(answer)
    said = shown(finished.errors).strip().splitlines()
    why = f"it took over {CHECK_SECONDS:.0f} s" if finished.timed_out else said[-1] if said else "it said nothing"
    raise CommitRefused(f"The documents of this commit could not be checked ({why}), so nothing was committed.")


def _stale(answer: Mapping[str, Any]) -> str:
    problems = [shown(problem)[:200].rstrip(".") for problem in answer["problems"]]
    more = len(problems) + answer["omitted"] - PROBLEMS_SHOWN
    rest = f"; {more} more, see docs_check" if more > 0 else ""
    return (
        "The documents would not agree with their records, so nothing was committed: "
        f"{'; '.join(problems[:PROBLEMS_SHOWN])}{rest}. Call docs_render, add the documents to paths, and call again."
    )


# --- what plain git would have done besides ----------------------------------------------------------------------


def _unfiltered(filters: Mapping[str, str]) -> str:
    if not filters:
        return ""
    return f"committed as they are, without their filter: {listed(list(filters))}"


async def _unrun_hooks(repository: Repository, settings: Mapping[str, str]) -> str:
    elsewhere = settings.get("core.hookspath", "")
    folder = Path(os.path.expanduser(elsewhere)) if elsewhere else (await repository.places()).common / "hooks"
    names = foreign_hooks(repository.root.path / folder)
    return f"hooks of this repository that were not run: {', '.join(names)}" if names else ""


def _unsigned(settings: Mapping[str, str]) -> str:
    wanted = settings.get("commit.gpgsign", "false").lower() not in ("false", "no", "off", "0")
    return "not signed, though commit.gpgSign is set" if wanted else ""
