"""Branches are listed, created and switched to, and no change is ever lost for it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.git import runner as git_module
from agent_tools.workspace.git.branches import GitBranches, git_branch
from agent_tools.workspace.git.runner import GitError
from agent_tools.workspace.root import Root
from tests.agent_tools.workspace.git.test_writing import everything


def branch(folder: Path, name: str = "", **arguments) -> GitBranches:
    async def call() -> GitBranches:
        return await git_branch(Root.at(folder), name=name, **arguments)

    return anyio.run(call)


def refused(folder: Path, said: str, name: str, **arguments) -> None:
    before = everything(folder)
    with pytest.raises(GitError, match=said):
        branch(folder, name, **arguments)
    assert everything(folder) == before


@pytest.fixture
def two(repository, git) -> Path:
    """`main`, and `side` where a.txt is another and side.txt is new."""
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "a.txt").write_text("side\n")
    (repository / "side.txt").write_text("side\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "work on the side")
    git(repository, "checkout", "-q", "main")
    return repository


def test_the_current_branch_is_listed_first_with_the_last_commit_of_each(two, git):
    commit = git(two, "rev-parse", "--short=10", "side").strip()
    answer = branch(two)
    assert (answer.branch, answer.next_cursor) == ("main", "")
    assert [line.split()[0] for line in answer.branches] == ["main", "side"]
    assert answer.branches[1].startswith(f"side {commit} 20")
    assert answer.branches[1].endswith(" work on the side")
    assert answer.summary().startswith("on main\nmain ")


def test_pages_of_branches_join_to_the_whole(repository, git):
    for number in range(25):
        git(repository, "branch", f"b{number:02}")
    seen, cursor = [], ""
    for _ in range(3):
        part = branch(repository, limit=10, cursor=cursor)
        seen += [line.split()[0] for line in part.branches]
        cursor = part.next_cursor
        assert part.branch == "main"
    assert cursor == ""
    assert sorted(seen) == sorted(["main", *(f"b{number:02}" for number in range(25))])


def test_odd_names_and_subjects_are_shown_each_on_its_own_line(repository, git):
    odd = ("x<U+0000>y", "ümlaut", "\u202egnp", "a,b")
    for name in odd:
        git(repository, "checkout", "-q", "-b", name)
        git(repository, "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m", "one\rtwo\x1b[31m")
    lines = branch(repository).branches
    assert len(lines) == 1 + len(odd)
    assert any(line.startswith("x<U+0000>y ") and "one<U+000D>two<U+001B>[31m" in line for line in lines)
    assert any(line.startswith("<U+202E>gnp ") for line in lines)


def test_branches_that_differ_in_too_many_files_to_be_looked_at_are_refused(two, git, monkeypatch):
    git(two, "checkout", "-q", "side")
    for number in range(60):
        (two / f"a file with a long name {number}").write_text("x")
    git(two, "add", ".")
    git(two, "commit", "-qm", "many")
    git(two, "checkout", "-q", "main")
    monkeypatch.setattr(git_module, "OUTPUT_CAP", 900)
    refused(two, "Too many files differ to look at their filters; switch with git itself: `git switch side`", "side")


def test_a_repository_without_commits_and_one_on_no_branch_are_listed(tmp_path, repository, git):
    git(repository, "checkout", "-q", "--detach")
    assert (branch(repository).branch, len(branch(repository).branches)) == ("", 1)
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "-q")
    assert branch(tmp_path / "new").branches == []
    with pytest.raises(GitError, match="no commit yet"):
        branch(tmp_path / "new", "x", start="HEAD")


def test_a_branch_is_created_at_a_revision_and_switched_to(two, git):
    (two / "kept.txt").write_text("new\n")
    answer = branch(two, "feature/x", start="side")
    assert answer.branch == "feature/x"
    assert "created at" in answer.note
    assert git(two, "rev-parse", "feature/x") == git(two, "rev-parse", "side")
    assert git(two, "symbolic-ref", "HEAD") == "refs/heads/feature/x\n"
    assert (two / "a.txt").read_text() == "side\n"
    assert (two / "kept.txt").read_text() == "new\n"
    assert "branch.feature/x" not in git(two, "config", "--list")


def test_changes_that_git_can_keep_come_along_and_are_named(two, git):
    (two / "b.txt").write_text("b\n")
    git(two, "add", "b.txt")
    assert "came along: 'b.txt'" in branch(two, "side").note
    assert git(two, "status", "--short") == "A  b.txt\n"
    (two / "a.txt").write_text("changed\n")
    assert "'a.txt', 'b.txt'" in branch(two, "new", start="HEAD").note
    assert (two / "a.txt").read_text() == "changed\n"


@pytest.mark.parametrize("kind", ["changed", "staged", "untracked", "ignored"])
def test_a_change_that_would_be_lost_is_named_and_nothing_is_changed(two, git, kind):
    name = "a.txt" if kind in ("changed", "staged") else "side.txt"
    (two / name).write_text("precious\n")
    if kind == "staged":
        git(two, "add", "a.txt")
    if kind == "ignored":
        (two / ".git" / "info" / "exclude").write_text("side.txt\n")
    refused(two, f"would overwrite '{name}', so nothing was changed", "side")
    refused(two, f"would overwrite '{name}', so nothing was changed", "new", start="side")
    assert (two / name).read_text() == "precious\n"


def test_names_that_are_none_and_names_that_are_taken_are_refused(two):
    refused(two, "There is no branch 'sida': the nearest are side; create it with start=HEAD", "sida")
    refused(two, "There is a branch 'side' already", "side", start="HEAD")
    refused(two, "There is no revision 'nowhere'", "x", start="nowhere")
    for name in ("-f", "HEAD", "a..b", "a b", "@{-1}", "side~1", "x.lock", "a\0b", "--orphan", "/x", "refs/../x"):
        refused(two, "is no name of a branch", name)
        refused(two, "is no name of a branch", name, start="HEAD")
    refused(two, "give its name as well", "", start="HEAD")


def test_a_tag_or_a_remote_branch_of_the_name_is_not_switched_to(two, git):
    git(two, "tag", "v1")
    git(two, "update-ref", "refs/remotes/origin/theirs", "side")
    refused(two, "There is no branch 'v1'", "v1")
    refused(two, "There is no branch 'theirs'", "theirs")
    branch(two, "theirs", start="origin/theirs")
    assert (two / "side.txt").exists()


def test_in_the_middle_of_a_merge_no_branch_is_switched_to(two, git):
    (two / "b.txt").write_text("b\n")
    git(two, "add", "b.txt")
    git(two, "commit", "-qm", "b")
    git(two, "merge", "-q", "--no-commit", "-s", "ours", "side")
    refused(two, "cannot switch branch while merging", "side")


def test_a_branch_of_another_working_tree_is_refused(two, git, tmp_path):
    git(two, "worktree", "add", "-q", str(tmp_path / "linked"), "side")
    refused(two, "already", "side")


def test_a_lock_of_another_git_is_a_sentence(two):
    (two / ".git" / "index.lock").write_text("")
    refused(two, r"Another git holds index\.lock and nothing was changed", "side")


@pytest.mark.parametrize(("name", "setting"), [("lfs", ""), ("crypt", "required"), ("crypt", "smudge")])
def test_a_file_that_comes_out_right_only_through_a_filter_is_refused(two, git, name, setting):
    git(two, "checkout", "-q", "side")
    (two / ".gitattributes").write_text(f"*.bin filter={name}\n")
    (two / "x.bin").write_text("x\n")
    git(two, "add", ".")
    git(two, "commit", "-qm", "filtered")
    git(two, "checkout", "-q", "main")
    if setting:
        git(two, "config", f"filter.{name}.{setting}", "true")
    refused(two, rf"'x\.bin' needs the filter {name}, .*; switch with git itself: `git switch side`", "side")
    branch(two, "other", start="HEAD")
