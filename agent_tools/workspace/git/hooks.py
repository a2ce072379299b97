"""Git hooks: one checks what is about to be committed, one brings the index of the code up to date afterwards.

The first looks at the index, not at the working tree: what is committed is what has to agree with its records. It runs
the program in the tree that is checked, so that templates and documents are those of one commit.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.store import write_atomically
from agent_tools.results import ToolResult
from agent_tools.workspace.git.identity import user_settings
from agent_tools.workspace.git.runner import Repository
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

REFRESH_CPU_SECONDS = 600
"""What the index may cost after a commit: many times what the largest repository needs."""

MARK = "# Installed by `agent-tools hooks install`."
COMMIT_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit")

_PRE_COMMIT = """#!/bin/sh
{mark} Checks the documents as they are about to be committed.
# To commit all the same: git commit --no-verify. To remove it: delete this file.
set -eu
if ! [ -x {python} ]; then
    echo "pre-commit: the environment that installed this is gone; 'agent-tools hooks install' in the new one." >&2
    exit 1
fi
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT INT TERM
git checkout-index --all --force --prefix="$tree/"
# git names the repository to a hook; what is checked is the copy.
unset $(git rev-parse --local-env-vars)
cd "$tree"
PYTHONPATH="$tree" {python} -m agent_tools.cli --root "$tree" docs check || {{
    echo "pre-commit: mend it with 'agent-tools docs render', add the documents, and commit again." >&2
    exit 1
}}
"""

_POST_COMMIT = """#!/bin/sh
{mark} Brings the index of code_search up to date, in the background.
# Every search does that too, so this costs no commit its success. To remove it: delete this file.
[ -x {python} ] || exit 0
for state in rebase-merge rebase-apply; do
    if [ -d "$(git rev-parse --git-path "$state")" ]; then exit 0; fi
done
tree=$(git rev-parse --show-toplevel) || exit 0
unset $(git rev-parse --local-env-vars)
(
    ulimit -t {seconds}
    cd "$tree" || exit 0
    exec nohup nice -n 19 {python} -m agent_tools.cli --root "$tree" index refresh
) </dev/null >/dev/null 2>&1 &
exit 0
"""


@dataclass(frozen=True)
class Hook:
    """A hook of ours: its script, what it does in words, and the command that another's hook may call instead."""

    script: str
    does: str
    command: str


HOOKS = {
    "pre-commit": Hook(_PRE_COMMIT, "checks the documents that a commit would hold", "agent-tools docs check"),
    "post-commit": Hook(_POST_COMMIT, "brings the index of the code up to date", "agent-tools index refresh"),
}


class HookError(WorkbenchError):
    """A hook that cannot be installed without losing somebody's own."""


class HooksInstalled(ToolResult):
    """The hooks that are now in place."""

    hooks: list[str]

    def summary(self) -> str:
        """Say them."""
        return "\n".join(f"{hook}: {HOOKS[hook].does}" for hook in self.hooks)


async def hooks_install(root: Root) -> HooksInstalled:
    """Install the git hooks of the workbench: before a commit, the documents have to agree with their records; after
    it, the index of the code is brought up to date in the background.

    Again is fine. A hook of somebody else is never replaced.

    Raises:
        HookError: another hook is there, or the repository keeps its hooks elsewhere.
    """
    folder = await _hooks_folder(root)
    for name in HOOKS:
        _refuse_foreign(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    for name in HOOKS:
        _install(folder / name)
    return HooksInstalled(hooks=list(HOOKS))


async def _hooks_folder(root: Root) -> Path:
    """Where git looks for hooks: one folder for all working trees of a repository."""
    repository = await Repository.open(root)
    elsewhere = (await user_settings(root)).get("core.hookspath", "")
    if elsewhere:
        raise HookError(
            f"git looks for hooks in {shown(elsewhere)} (core.hooksPath); call `agent-tools docs check` from the "
            "pre-commit hook there, or unset core.hooksPath and install again."
        )
    return (await repository.places()).common / "hooks"


def foreign_hooks(folder: Path) -> list[str]:
    """Names of the hooks in a folder that git would run for a commit and that are not ours."""
    there = [folder / name for name in COMMIT_HOOKS if os.access(folder / name, os.X_OK)]
    return [hook.name for hook in there if hook.is_file() and not _is_ours(hook)]


def _is_ours(hook: Path) -> bool:
    try:
        return MARK in hook.read_text("utf-8", "replace")
    except OSError:
        # Ours can be read by whoever installed it.
        return False


def _refuse_foreign(hook: Path) -> None:
    if os.path.lexists(hook) and (hook.is_symlink() or MARK not in hook.read_text("utf-8", "replace")):
        raise HookError(
            f"there is another {hook.name} hook; add the line `{HOOKS[hook.name].command}` to it, or move it away "
            "and install again. Nothing was changed."
        )


def _install(hook: Path) -> None:
    words = {"mark": MARK, "python": shlex.quote(sys.executable), "seconds": REFRESH_CPU_SECONDS}
    write_atomically(hook, HOOKS[hook.name].script.format(**words))
    hook.chmod(0o755)
