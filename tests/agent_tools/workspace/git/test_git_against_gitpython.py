"""Our reader and GitPython, which nobody here wrote, say the same of the same repositories."""

from pathlib import Path

import anyio
import git as gitpython
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_tools.workspace.git.reading import git_log, git_status
from agent_tools.workspace.root import Root
from tests.agent_tools.conftest import run_git

names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12).map(
    lambda name: f"{name}.txt"
)


@given(committed=st.sets(names, min_size=1, max_size=4), new=st.sets(names, max_size=4), data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_status_and_log_agree_with_an_independent_reader(
    committed: set[str], new: set[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("repository")
    run_git(folder, "init", "-q", "-b", "main")
    for name in sorted(committed):
        (folder / name).write_text("one\n")
        run_git(folder, "add", "--", name)
        run_git(folder, "commit", "-q", "-m", f"add {len(name)}")
    changed = data.draw(st.sets(st.sampled_from(sorted(committed))))
    for name in changed:
        (folder / name).write_text("two\n")
    for name in new - committed:
        (folder / name).write_text("new\n")
    compare(folder)


def compare(folder: Path) -> None:
    with gitpython.Repo(folder) as reference:
        status = anyio.run(lambda: git_status(Root.at(folder)))
        assert status.branch == reference.active_branch.name
        assert reference.head.commit.hexsha.startswith(status.commit)
        assert sorted(status.untracked) == sorted(reference.untracked_files)
        assert sorted(line.split(" ", 1)[1] for line in status.unstaged) == sorted(
            item.a_path for item in reference.index.diff(None) if item.a_path
        )
        log = anyio.run(lambda: git_log(Root.at(folder)))
        commits = list(reference.iter_commits())
        assert [commit["subject"] for commit in log.commits] == [str(commit.summary) for commit in commits]
        assert all(ours.hexsha.startswith(commit["commit"]) for ours, commit in zip(commits, log.commits, strict=True))
