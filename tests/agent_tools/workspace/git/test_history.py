"""What changed since a commit: complete, also where there is no commit, no such commit, or no repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.git.history import NEVER, NEWEST_WITHOUT_BASE, TreeSince, commits_touching, tree_since
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.conftest import Git


def since(folder: Path, base: str = "") -> TreeSince:
    return anyio.run(tree_since, Root.at(folder), base)


def touching(folder: Path, base: str, *paths: str) -> list[str] | None:
    commits = anyio.run(commits_touching, Root.at(folder), base, paths)
    return None if commits is None else [commit.subject for commit in commits]


def test_committed_and_uncommitted_work_since_a_commit_is_listed_with_what_became_of_each_file(repository, git: Git):
    base = git(repository, "rev-parse", "HEAD").strip()
    (repository / "b.txt").write_text("b\n")
    (repository / "c.txt").write_text("c\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second\n\n- why\n\nRecords: none")
    (repository / "c.txt").write_text("other\n")
    (repository / "a.txt").unlink()
    (repository / "über mich.txt").write_text("new\n")
    tree = since(repository, base)
    assert tree.changed == (
        ("deleted", "a.txt"),
        ("created", "b.txt"),
        ("created", "c.txt"),
        ("created", "über mich.txt"),
    )
    assert tree.uncommitted == ("D a.txt", "M c.txt", "? über mich.txt")
    assert [commit.message for commit in tree.commits] == ["second\n\n- why\n\nRecords: none"]
    assert (tree.base, tree.branch, tree.commit) == (base, "main", git(repository, "rev-parse", "HEAD").strip())
    assert tree.committed > NEVER


def test_without_a_base_the_newest_commits_and_only_uncommitted_files_are_listed(repository, git: Git):
    for number in range(NEWEST_WITHOUT_BASE + 5):
        git(repository, "commit", "-q", "--allow-empty", "-m", f"{number}")
    (repository / "a.txt").write_text("other\n")
    tree = since(repository)
    assert len(tree.commits) == NEWEST_WITHOUT_BASE
    assert tree.changed == (("modified", "a.txt"),)


@pytest.mark.parametrize("base", ["0" * 40, "--output=x", "HEAD:a.txt", "a..b", "no such thing"])
def test_a_base_that_is_no_commit_here_is_like_none(repository, base):
    assert since(repository, base) == since(repository)
    assert touching(repository, base, "a.txt") is None
    assert not (repository / "x").exists()


def test_before_the_first_commit_and_without_a_repository_there_is_little_to_say(tmp_path, git: Git):
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("a\n")
    tree = since(tmp_path)
    assert (tree.commit, tree.commits, tree.changed) == ("", (), (("created", "a.txt"),))
    shutil.rmtree(tmp_path / ".git")
    assert since(tmp_path) == TreeSince()
    assert touching(tmp_path, "HEAD", "a.txt") is None


def test_commits_that_touch_some_paths_are_newest_first(repository, git: Git):
    base = git(repository, "rev-parse", "HEAD").strip()
    for number, name in enumerate(("a.txt", "b.txt", "a.txt")):
        (repository / name).write_text(f"{number}\n")
        git(repository, "add", ".")
        git(repository, "commit", "-q", "-m", f"{number} {name}")
    assert touching(repository, base, "a.txt") == ["2 a.txt", "0 a.txt"]
    assert touching(repository, base) == ["2 a.txt", "1 b.txt", "0 a.txt"]
    assert touching(repository, base, "gone.txt") == []


def test_more_changes_than_are_kept_are_counted(repository):
    for number in range(520):
        (repository / f"f{number:03}.txt").write_text("x")
    tree = since(repository)
    assert len(tree.changed) == 500
    assert tree.omitted > 0


def test_a_path_outside_of_the_root_never_reaches_git(repository):
    with pytest.raises(RootError):
        touching(repository, "HEAD", "../secret")
