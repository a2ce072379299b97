"""What the user's own git configuration says: who they are, where their git looks for hooks, whether it signs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent_tools.jobs.processes import run_bounded
from agent_tools.workspace.git.runner import SECONDS, GitError, shown_lines
from agent_tools.workspace.root import Root

_ASKED = r"^(user\.(name|email)|core\.hookspath|commit\.gpgsign)$"


async def user_settings(root: Root) -> dict[str, str]:
    """Return what is asked for, by lower-case name, as the user's git has it here; only what is set.

    Raises:
        GitError: git did not answer.
    """
    # Not by the hardened runner, which does not see the user's own configuration; reading runs nothing.
    finished = await run_bounded(
        ["git", "config", "--null", "--get-regexp", _ASKED],
        folder=root.path,
        environment={name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")},
        seconds=SECONDS,
        output_cap=1 << 16,
    )
    if finished.timed_out or finished.truncated:
        raise GitError("git config did not answer; look at the files that `git config --list --show-origin` names.")
    entries = (line.partition("\n") for line in shown_lines(finished.output))
    return {name: value for name, _, value in entries}


def author_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make the user the author and committer of what git writes.

    As for git itself, the variables that the user set come before their configuration.

    Raises:
        GitError: nobody said who commits here.
    """
    variables = {
        f"GIT_{role}_{part}": os.environ.get(f"GIT_{role}_{part}") or settings.get(f"user.{part.lower()}", "")
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    if not all(variables.values()):
        raise GitError(
            "git does not know who commits; run `git config --global user.name 'NAME'` and "
            "`git config --global user.email 'ADDRESS'`, then call again."
        )
    return variables
