"""What is discarded can be brought back, byte for byte, by the command that the answer names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import pytest

from agent_tools.workspace.git import restoring as git_restoring
from agent_tools.workspace.git.restoring import GitRestored, git_restore
from agent_tools.workspace.git.runner import GitError
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.workspace.git.test_writing import everything


def restore(folder: Path, *paths: str, staged: bool = False) -> GitRestored:
    async def call() -> GitRestored:
        return await git_restore(Root.at(folder), paths=paths, staged=staged)

    return anyio.run(call)


def refused(folder: Path, said: str, *paths: str, error: type[Exception] = GitError, staged: bool = False) -> None:
    before = everything(folder)
    with pytest.raises(error, match=said):
        restore(folder, *paths, staged=staged)
    after = everything(folder)
    assert {name: after[name] for name in after if not name.startswith("outputs/")} == before


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not {".git", "outputs"} & set(path.parts)]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode) for path in files}


def undo(folder: Path, answer: GitRestored) -> None:
    subprocess.run(answer.undo.split(), cwd=folder, check=True)


@pytest.fixture
def changed(repository, git) -> Path:
    """Changed, deleted, executable, binary, odd names, no line end at the end; and new files beside them."""
    for name in ("gone.txt", "run.sh", "bytes.bin", "ü \"x'.txt", "crlf.txt"):
        (repository / name).write_bytes(f"{name}\r\n".encode() * 3)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "more")
    (repository / "a.txt").write_text("changed  \n\tno end")
    (repository / "gone.txt").unlink()
    (repository / "run.sh").chmod(0o755)
    (repository / "bytes.bin").write_bytes(bytes(range(256)))
    (repository / "ü \"x'.txt").write_text("odd\n")
    (repository / "crlf.txt").write_bytes(b"one\r\ntwo\n")
    (repository / "new.txt").write_text("new\n")
    (repository / "intended.txt").write_text("intended\n")
    git(repository, "add", "--intent-to-add", "intended.txt")
    return repository


def test_what_is_discarded_comes_back_byte_for_byte(changed, git):
    before, state = snapshot(changed), git(changed, "status", "--short")
    answer = restore(changed, ".")
    assert len(answer.files) == 6
    assert git(changed, "status", "--short") == " A intended.txt\n?? new.txt\n"
    assert {"new.txt", "intended.txt"} <= snapshot(changed).keys()
    assert answer.patch.startswith("outputs/kept/discarded-")
    undo(changed, answer)
    assert (snapshot(changed), git(changed, "status", "--short")) == (before, state)


def test_the_configuration_of_a_repository_does_not_spoil_the_patch(changed, git):
    for setting in ("noprefix=true", "mnemonicPrefix=true", "context=0", "interHunkContext=9", "renames=copies"):
        git(changed, "config", *f"diff.{setting}".split("="))
    git(changed, "config", "apply.whitespace", "fix")
    git(changed, "config", "apply.ignoreWhitespace", "change")
    before = snapshot(changed)
    answer = restore(changed, ".")
    assert (changed / "a.txt").read_text() == "one\n"
    for section in ("diff", "apply"):
        git(changed, "config", "--remove-section", section)
    undo(changed, answer)
    assert snapshot(changed) == before


def test_only_the_named_paths_are_restored(changed):
    answer = restore(changed, "a.txt")
    assert answer.files == ["a.txt"]
    assert (changed / "a.txt").read_text() == "one\n"
    assert not (changed / "gone.txt").exists()


def test_unstaging_leaves_the_files_and_comes_back(changed, git):
    git(changed, "add", ".")
    before, state = snapshot(changed), git(changed, "ls-files", "--stage")
    answer = restore(changed, ".", staged=True)
    assert answer.undo.startswith("git apply --cached outputs/kept/unstaged-")
    assert snapshot(changed) == before
    assert git(changed, "diff", "--cached", "--name-only") == ""
    undo(changed, answer)
    assert git(changed, "ls-files", "--stage") == state
    assert snapshot(changed) == before


def test_what_is_staged_is_not_discarded_with_the_rest(repository, git):
    (repository / "a.txt").write_text("staged\n")
    git(repository, "add", "a.txt")
    refused(repository, r"The changes of 'a\.txt' are staged; unstage them with staged=true", "a.txt")
    (repository / "a.txt").write_text("later\n")
    restore(repository, "a.txt")
    assert (repository / "a.txt").read_text() == "staged\n"


def test_new_unchanged_and_outside_paths_are_refused(repository, git):
    (repository / "new.txt").write_text("n\n")
    refused(repository, r"'new\.txt' is new, and new files are never removed", "new.txt")
    git(repository, "add", "--intent-to-add", "new.txt")
    refused(repository, r"'new\.txt' is new, and new files are never removed", "new.txt")
    refused(repository, r"Nothing is changed in 'a\.txt'", "a.txt")
    refused(repository, r"Nothing is staged in 'a\.txt'", "a.txt", staged=True)
    refused(repository, "No path is named")
    for path in ("..", "/etc", "-a", ":/"):
        refused(repository, "outside|contains|starts with", path, error=RootError)


def test_a_conflict_a_submodule_and_a_filtered_file_are_refused(repository, git):
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repository / "x.bin").write_text("x\n")
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    git(inner, "commit", "-q", "--allow-empty", "-m", "inner")
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", ".")
    git(repository, "commit", "-qm", "all")
    git(inner, "commit", "-q", "--allow-empty", "-m", "moved")
    (repository / "x.bin").write_text("y\n")
    refused(repository, "'inner' is a submodule", ".")
    refused(repository, r"'x\.bin' needs the filter lfs", "x.bin")
    (repository / "a.txt").write_text("stashed\n")
    git(repository, "stash", "-q", "--", "a.txt")
    (repository / "a.txt").write_text("main\n")
    git(repository, "commit", "-qm", "main", "a.txt")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "stash", "pop")
    refused(repository, r"Conflicts are left in 'a\.txt'", "a.txt")


def test_a_change_that_came_after_the_patch_is_not_lost(repository, monkeypatch):
    (repository / "a.txt").write_text("changed\n")
    saved = git_restoring.keep

    def keep_and_change(*given):
        (repository / "a.txt").write_text("changed again\n")
        return saved(*given)

    monkeypatch.setattr(git_restoring, "keep", keep_and_change)
    with pytest.raises(GitError, match="nothing was discarded"):
        restore(repository, "a.txt")
    assert (repository / "a.txt").read_text() == "changed again\n"


def test_a_patch_too_large_to_be_kept_is_refused(repository, monkeypatch):
    monkeypatch.setattr(git_restoring, "LARGEST_PATCH", 100)
    (repository / "a.txt").write_text("x\n" * 1000)
    refused(repository, "nothing was discarded; name fewer paths", "a.txt")


def test_a_patch_is_longer_than_what_git_may_say(repository, git, monkeypatch):
    (repository / "a.txt").write_text("".join(f"{number}\n" for number in range(400_000)))
    git(repository, "commit", "-qam", "long")
    (repository / "a.txt").write_text("".join(f"{number} changed\n" for number in range(400_000)))
    before = snapshot(repository)
    answer = restore(repository, "a.txt")
    assert (repository / answer.patch).stat().st_size > 4 << 20
    undo(repository, answer)
    assert snapshot(repository) == before
