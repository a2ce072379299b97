"""A commit holds exactly the named paths; everything else stays as it is, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_tools.workspace.git import index as git_index
from agent_tools.workspace.git.index import read_index, replace_index, write_index
from agent_tools.workspace.git.runner import GitError, Repository
from agent_tools.workspace.git.writing import Proposal, make_commit, propose
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.conftest import run_git

AUTHOR = {f"GIT_{role}_{part}": "u@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
MESSAGE = "feat: change\n\n- why\n\nRecords: none\nFindings: none\n"
GIT = shutil.which("git") or ""


def commit(folder: Path, *paths: str, meanwhile: Callable[[], object] = lambda: None) -> str:
    async def run() -> str:
        repository = await Repository.open(Root.at(folder))
        with tempfile.TemporaryDirectory() as text:
            proposal: Proposal = await propose(repository, paths, Path(text))
            meanwhile()
            return await make_commit(proposal, MESSAGE, AUTHOR, Path(text))

    return anyio.run(run)


def changes(folder: Path, revision: str = "HEAD") -> list[str]:
    return run_git(folder, "show", "--format=", "--name-status", "--no-renames", revision).split("\n")[:-1]


def short(folder: Path) -> list[str]:
    return run_git(folder, "status", "--short", "--no-renames").split("\n")[:-1]


def everything(folder: Path) -> dict[str, bytes]:
    """All that a user could lose: every file of the tree, and of .git what is not an object or a log."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    skipped = (".git/objects/", ".git/logs/")
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if not name.startswith(skipped)}


def refused(folder: Path, *paths: str, error: type[Exception] = GitError, said: str, **more) -> None:
    before = everything(folder)
    with pytest.raises(error, match=said):
        commit(folder, *paths, **more)
    assert everything(folder) == before


# --- what is committed -------------------------------------------------------------------------------------------


def test_new_changed_and_deleted_files_are_committed_as_they_are(repository, git):
    for name in ("gone.txt", "kept.txt"):
        (repository / name).write_text(name)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "more")
    (repository / "a.txt").write_text("changed\n")
    (repository / "gone.txt").unlink()
    (repository / "new.sh").write_text("n\n")
    (repository / "new.sh").chmod(0o755)
    (repository / "link").symlink_to("a.txt")
    made = commit(repository, "a.txt", "gone.txt", "new.sh", "link")
    assert made == git(repository, "rev-parse", "main").strip()
    assert changes(repository) == ["M\ta.txt", "D\tgone.txt", "A\tlink", "A\tnew.sh"]
    assert short(repository) == []
    assert git(repository, "ls-tree", "HEAD", "new.sh", "link").split()[::4] == ["120000", "100755"]
    assert git(repository, "show", "-s", "--format=%an %ae %cn %ce%n%B") == f"u@x u@x u@x u@x\n{MESSAGE}\n"
    assert git(repository, "reflog", "-1", "--format=%gs") == "commit: feat: change\n"


def test_a_folder_counts_for_what_is_in_it_and_not_ignored(repository, git):
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "d" / "e").mkdir(parents=True)
    for name in ("d/x", "d/e/y", "d/e/z.log", "other"):
        (repository / name).write_text(name)
    commit(repository, "d")
    assert changes(repository) == ["A\td/e/y", "A\td/x"]
    commit(repository, ".")
    assert changes(repository) == ["A\t.gitignore", "A\tother"]
    assert (repository / "d/e/z.log").exists()


def test_what_was_staged_beside_the_named_paths_stays_staged(repository, git):
    (repository / "b.txt").write_text("staged\n")
    git(repository, "add", "b.txt")
    (repository / "b.txt").write_text("and changed\n")
    (repository / "intended.txt").write_text("i\n")
    git(repository, "add", "--intent-to-add", "intended.txt")
    (repository / "a.txt").write_text("changed\n")
    before = git(repository, "ls-files", "--stage", "b.txt", "intended.txt")
    commit(repository, "a.txt")
    assert changes(repository) == ["M\ta.txt"]
    assert short(repository) == ["AM b.txt", " A intended.txt"]
    assert git(repository, "ls-files", "--stage", "b.txt", "intended.txt") == before


def test_of_a_named_path_the_file_counts_and_not_what_was_staged_of_it(repository, git):
    (repository / "a.txt").write_text("staged\n")
    git(repository, "add", "a.txt")
    (repository / "a.txt").write_text("later\n")
    commit(repository, "a.txt")
    assert git(repository, "show", "HEAD:a.txt") == "later\n"
    assert short(repository) == []


def test_a_named_path_that_is_as_it_was_is_no_longer_staged_otherwise(repository, git):
    (repository / "a.txt").write_text("staged\n")
    git(repository, "add", "a.txt")
    (repository / "a.txt").write_text("one\n")
    (repository / "b.txt").write_text("b\n")
    commit(repository, "a.txt", "b.txt")
    assert (changes(repository), short(repository)) == (["A\tb.txt"], [])


def test_both_names_of_a_rename_are_named(repository, git):
    git(repository, "mv", "a.txt", "z.txt")
    commit(repository, "z.txt")
    assert (changes(repository), short(repository)) == (["A\tz.txt"], ["D  a.txt"])
    commit(repository, "a.txt")
    assert (changes(repository), short(repository)) == (["D\ta.txt"], [])


def test_a_file_takes_the_place_of_a_folder_and_the_other_way_round(repository, git):
    (repository / "a.txt").unlink()
    (repository / "a.txt").mkdir()
    (repository / "a.txt" / "x").write_text("x\n")
    commit(repository, "a.txt/x")
    assert (changes(repository), short(repository)) == (["D\ta.txt", "A\ta.txt/x"], [])
    shutil.rmtree(repository / "a.txt")
    (repository / "a.txt").write_text("again\n")
    commit(repository, "a.txt")
    assert (changes(repository), short(repository)) == (["A\ta.txt", "D\ta.txt/x"], [])


def test_the_first_commit_of_a_repository(tmp_path, git):
    git(tmp_path, "init", "-q", "-b", "main")
    for name in ("x", "y", "z"):
        (tmp_path / name).write_text(name)
    git(tmp_path, "add", "y")
    commit(tmp_path, "x")
    assert git(tmp_path, "log", "--format=%P", "--name-only") == "\n\nx\n"
    assert short(tmp_path) == ["A  y", "?? z"]


def test_odd_names_are_committed_as_they_are(repository):
    odd = [b"with space", "ümlaut".encode(), b"latin\xe9", b'quo"te', b"new\nline", b"*", b"back\\slash"]
    for name in odd:
        (Path(os.fsencode(repository).decode()) / os.fsdecode(name)).write_bytes(name)
    commit(repository, ".")
    names = subprocess.check_output(["git", "ls-tree", "-z", "--name-only", "HEAD"], cwd=repository)
    assert set(names.split(b"\0")) == {*odd, b"a.txt", b""}


def test_a_star_names_the_file_of_that_name_only(repository):
    (repository / "*").write_text("star\n")
    (repository / "b").write_text("b\n")
    commit(repository, "*")
    assert changes(repository) == ["A\t*"]


def test_line_ends_are_stored_as_the_attributes_say(repository, git):
    (repository / ".gitattributes").write_text("*.txt text eol=crlf\n")
    (repository / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    commit(repository, ".gitattributes", "a.txt")
    assert git(repository, "cat-file", "-p", "HEAD:a.txt") == "one\ntwo\n"
    assert short(repository) == []


def test_files_left_out_of_a_sparse_checkout_are_not_deleted(repository, git):
    (repository / "far").mkdir()
    (repository / "far" / "x").write_text("x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "far")
    git(repository, "sparse-checkout", "set", "--no-cone", "/a.txt")
    assert not (repository / "far").exists()
    (repository / "a.txt").write_text("changed\n")
    commit(repository, ".")
    assert (changes(repository), short(repository)) == (["M\ta.txt"], [])


def test_a_linked_worktree_commits_to_its_own_branch(repository, git, tmp_path):
    side = tmp_path / "side"
    git(repository, "worktree", "add", "-q", "-b", "side", str(side))
    (side / "b.txt").write_text("b\n")
    made = commit(side, "b.txt")
    assert git(repository, "rev-parse", "side").strip() == made
    assert (short(side), short(repository)) == ([], [])


def test_a_split_index_is_read_and_replaced(repository, git):
    for number in range(20):
        (repository / f"{number}").write_text("x")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "many")
    git(repository, "config", "core.splitIndex", "true")
    git(repository, "update-index", "--split-index")
    (repository / "3").write_text("staged")
    git(repository, "add", "3")
    (repository / "5").write_text("changed")
    commit(repository, "5")
    assert (changes(repository), short(repository)) == (["M\t5"], ["M  3"])
    git(repository, "fsck", "--strict")


def test_a_change_that_only_the_age_of_the_index_gives_away_is_still_seen_after_a_commit(repository, git):
    """Same size, same time: git looks into a file that is not older than its index, so a copy must not look younger."""
    git(repository, "config", "core.trustctime", "false")
    changed, index_file, moment = repository / "b.txt", repository / ".git" / "index", 1_700_000_000_000_000_000
    changed.write_text("1\n")
    os.utime(changed, ns=(moment, moment))
    git(repository, "add", "b.txt")
    git(repository, "commit", "-qm", "b")
    changed.write_text("2\n")
    os.utime(changed, ns=(moment, moment))
    os.utime(index_file, ns=(moment, moment))
    (repository / "a.txt").write_text("changed\n")
    commit(repository, "a.txt")
    assert short(repository) == [" M b.txt"]


def test_an_index_is_written_as_it_was_read(repository, tmp_path):
    index = read_index(repository / ".git" / "index")
    write_index(tmp_path / "copy", index)
    assert read_index(tmp_path / "copy") == index
    write_index(tmp_path / "copy", None)
    assert read_index(tmp_path / "copy") is None


def test_a_submodule_is_committed_as_the_commit_that_it_is_on(repository, git):
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    git(inner, "commit", "-q", "--allow-empty", "-m", "inner")
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(repository, "commit", "-qm", "with submodule")
    git(inner, "commit", "-q", "--allow-empty", "-m", "moved")
    commit(repository, "inner")
    assert git(repository, "rev-parse", "HEAD:inner") == git(inner, "rev-parse", "HEAD")


# --- what is refused, with nothing changed -----------------------------------------------------------------------


def test_paths_that_cannot_be_committed_are_refused_with_the_reason(repository, git, tmp_path):
    (repository / ".gitignore").write_text("*.log\nout/\n")
    (repository / "x.log").write_text("x\n")
    (repository / "out").mkdir()
    (repository / "out" / "y").write_text("y\n")
    (repository / "empty").mkdir()
    (repository / "new").write_text("new\n")
    refused(repository, "new", "x.log", said=r"'x\.log' is ignored \(\.gitignore:1:\*\.log\)")
    refused(repository, "new", "out/y", said=r"'out/y' is ignored \(\.gitignore:2:out/\)")
    refused(repository, "new", "empty", said="'empty' holds no file that git could commit")
    refused(repository, "nev", error=RootError, said="'nev' does not exist; the nearest there: 'new'")
    refused(repository, "a.txt", said=r"Nothing is changed in 'a\.txt'")
    refused(repository, said="No path is named")
    refused(repository, ".git/config", said="holds no file that git could commit")
    for outside in ("..", "/etc/passwd", "../x", ":/", "-a", "new\0"):
        refused(repository, outside, error=RootError, said="outside|contains|starts with|not a path")
    (repository / "out-link").symlink_to(tmp_path)
    refused(repository, "out-link/x", error=RootError, said="outside")


def test_a_repository_inside_is_refused(repository, git):
    (repository / "inner").mkdir()
    git(repository / "inner", "init", "-q")
    (repository / "inner" / "x").write_text("x\n")
    for path in ("inner", ".", "inner/x"):
        refused(repository, path, said="inner/' is a repository of its own|holds no file")


def test_without_a_branch_nothing_is_committed(repository, git):
    git(repository, "checkout", "-q", "--detach")
    (repository / "a.txt").write_text("changed\n")
    refused(repository, "a.txt", said="HEAD is on no branch")


@pytest.mark.parametrize("command", ["merge", "rebase", "cherry-pick"])
def test_in_the_middle_of_something_else_nothing_is_committed(repository, git, command):
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "a.txt").write_text("side\n")
    git(repository, "commit", "-qam", "side")
    git(repository, "checkout", "-q", "main")
    (repository / "a.txt").write_text("main\n")
    (repository / "b.txt").write_text("b\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, command, "side")
    (repository / "b.txt").write_text("changed\n")
    refused(repository, "b.txt", said=f"A {command} is in progress; finish it, or end it with `git {command} --abort`")


def test_conflicts_that_a_stash_left_are_refused(repository, git):
    (repository / "a.txt").write_text("stashed\n")
    git(repository, "stash", "-q")
    (repository / "a.txt").write_text("main\n")
    git(repository, "commit", "-qam", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "stash", "pop")
    (repository / "b.txt").write_text("b\n")
    refused(repository, "b.txt", said=r"Conflicts are left in 'a\.txt'")


@pytest.mark.parametrize(
    ("name", "required", "said"),
    [("lfs", "false", "needs the filter lfs"), ("crypt", "true", "needs the filter crypt"), ("other", "false", "")],
)
def test_a_file_that_needs_a_filter_is_refused(repository, git, name, required, said):
    (repository / ".gitattributes").write_text(f"*.bin filter={name}\n")
    git(repository, "config", f"filter.{name}.required", required)
    (repository / "x.bin").write_text("x\n")
    if said:
        refused(repository, "x.bin", said=said)
    else:
        commit(repository, "x.bin")
        assert git(repository, "show", "HEAD:x.bin") == "x\n"


def test_a_branch_that_moved_meanwhile_is_left_alone(repository, git):
    (repository / "a.txt").write_text("changed\n")
    (repository / "b.txt").write_text("b\n")
    git(repository, "add", "b.txt")
    index = read_index(repository / ".git" / "index")
    other = git(repository, "commit-tree", "-p", "HEAD", "-m", "other", "HEAD^{tree}").strip()
    with pytest.raises(GitError, match="moved meanwhile"):
        commit(repository, "a.txt", meanwhile=lambda: git(repository, "update-ref", "refs/heads/main", other))
    assert git(repository, "rev-parse", "main").strip() == other
    assert read_index(repository / ".git" / "index") == index


def test_a_first_commit_that_another_made_meanwhile_is_left_alone(tmp_path, git):
    folder = tmp_path / "empty"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "x").write_text("x\n")

    def another() -> None:
        tree = git(folder, "hash-object", "-t", "tree", "-w", "/dev/null").strip()
        git(folder, "update-ref", "refs/heads/main", git(folder, "commit-tree", "-m", "other", tree).strip())

    with pytest.raises(GitError, match="moved meanwhile"):
        commit(folder, "x", meanwhile=another)
    assert not (folder / ".git" / "index").exists()
    assert not (folder / ".git" / "index.lock").exists()


def test_what_another_stages_meanwhile_stays_staged(repository, git):
    (repository / "a.txt").write_text("changed\n")
    (repository / "b.txt").write_text("b\n")
    commit(repository, "a.txt", meanwhile=lambda: git(repository, "add", "b.txt"))
    assert (changes(repository), short(repository)) == (["M\ta.txt"], ["A  b.txt"])


def test_an_index_that_another_git_holds_is_a_sentence_and_stays_locked(repository, monkeypatch):
    monkeypatch.setattr(git_index, "LOCK_SECONDS", 0.1)
    (repository / "a.txt").write_text("changed\n")
    (repository / ".git" / "index.lock").write_text("")
    refused(repository, "a.txt", said=r"Another git holds index\.lock and nothing was changed; try again")


def test_a_lock_that_is_released_soon_is_waited_for(repository, git):
    (repository / "a.txt").write_text("changed\n")
    lock = repository / ".git" / "index.lock"
    with subprocess.Popen(["sh", "-c", f"sleep 0.4; rm '{lock}'"]):
        lock.write_text("")
        commit(repository, "a.txt")
    assert short(repository) == []


def test_an_index_that_is_not_what_it_was_is_not_replaced(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(b"old")
    old = read_index(path)
    path.write_bytes(b"newer")
    assert not anyio.run(replace_index, path, old, old)
    assert not anyio.run(replace_index, path, None, old)
    assert [file.name for file in tmp_path.iterdir()] == ["index"]
    assert anyio.run(replace_index, path, read_index(path), None)
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_is_locked_leaves_the_index_as_it_was(repository):
    (repository / "a.txt").write_text("changed\n")
    (repository / "b.txt").write_text("b\n")
    (repository / ".git" / "refs" / "heads" / "main.lock").write_text("")
    refused(repository, "a.txt", "b.txt", said="moved meanwhile or is locked, so nothing was committed")


# --- exactly the named paths -------------------------------------------------------------------------------------

NAMES = ("a", "d/b", "d/e/c", "ü x", 'q"q', "d.x")
STATES = st.fixed_dictionaries(
    {
        "tracked": st.booleans(),
        "staged": st.sampled_from(["as it is", "changed", "removed", "intended"]),
        "file": st.sampled_from(["as it is", "changed", "removed"]),
    }
)


def arrange(folder: Path, states: dict[str, dict]) -> None:
    run_git(folder, "init", "-q", "-b", "main")
    (folder / "base").write_text("base\n")
    for name, state in states.items():
        if state["tracked"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{name} 1\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-qm", "base")
    for name, state in states.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if state["staged"] == "changed":
            path.write_text(f"{name} staged\n")
            run_git(folder, "add", name)
        elif state["staged"] == "removed" and state["tracked"]:
            run_git(folder, "rm", "-q", "--cached", name)
        elif state["staged"] == "intended" and not state["tracked"]:
            path.write_text(f"{name} intended\n")
            run_git(folder, "add", "--intent-to-add", name)
        if state["file"] == "changed":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} file\n")
        elif state["file"] == "removed":
            path.unlink(missing_ok=True)


def listing(folder: Path, *command: str) -> dict[str, str]:
    lines = run_git(folder, *command).split("\0")[:-1]
    return {line.partition("\t")[2]: line.partition("\t")[0] for line in lines}


def index(folder: Path) -> dict[str, str]:
    return listing(folder, "ls-files", "--stage", "-z")


def tree(folder: Path) -> dict[str, str]:
    return listing(folder, "ls-tree", "-r", "-z", "HEAD")


def blob(entry: str | None) -> str:
    """The id in an entry of the index or of a tree."""
    return next((part for part in (entry or "").split() if len(part) == 40), "")


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, STATES)), st.sets(st.sampled_from([*NAMES, "d", "d/e"]), min_size=1))
def test_a_commit_holds_exactly_the_named_paths_and_the_rest_is_as_it_was(states, named):
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        arrange(folder, states)
        before, staged, there = tree(folder), index(folder), files(folder)
        known = {*before, *staged, *there}
        names = sorted(n for n in named if any(path == n or path.startswith(f"{n}/") for path in known))
        taken = {path for path in known if any(path == n or path.startswith(f"{n}/") for n in names)}
        wanted = {path: blob(entry) for path, entry in before.items() if path not in taken}
        for path in taken & there.keys():
            wanted[path] = run_git(folder, "hash-object", "--", path).strip()
        same = wanted == {path: blob(entry) for path, entry in before.items()}
        if not names or same:
            with pytest.raises(GitError, match=r"Nothing is changed|No path is named"):
                commit(folder, *names)
            assert (tree(folder), index(folder), files(folder)) == (before, staged, there)
            return
        commit(folder, *names)
        assert {path: blob(entry) for path, entry in tree(folder).items()} == wanted
        assert files(folder) == there
        now = index(folder)
        assert {p: e for p, e in now.items() if p not in taken} == {p: e for p, e in staged.items() if p not in taken}
        assert {p: blob(e) for p, e in now.items() if p in taken} == {p: b for p, b in wanted.items() if p in taken}
        run_git(folder, "fsck", "--strict")


# --- killed on the way -------------------------------------------------------------------------------------------

KILLED = """
import sys, tempfile, anyio
from pathlib import Path
from tests.agent_tools.workspace.git.test_writing import commit
commit(Path(sys.argv[1]), "a.txt", "new.txt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_moment_the_repository_is_whole_and_the_next_commit_works(repository, git, tmp_path, moment):
    """A git in front of the real one kills the program that called it, before or after its N-th call."""
    calls, front = tmp_path / "calls", tmp_path / "bin" / "git"
    front.parent.mkdir()
    (repository / "b.txt").write_text("staged\n")
    git(repository, "add", "b.txt")
    outcomes = set()
    for number in range(1, 40):
        (repository / "a.txt").write_text(f"{moment} {number}\n")
        (repository / "new.txt").write_text(f"{moment} {number}\n")
        kill = f'[ "$(wc -l < {calls})" -eq {number} ] && kill -9 $PPID'
        steps = f"{kill} && exit 1\nexec {GIT} $@" if moment == "before" else f"{GIT} $@\ncode=$?\n{kill}\nexit $code"
        calls.write_text("")
        front.write_text(f"#!/bin/sh\necho >> {calls}\n{steps}\n".replace("$@", '"$@"'))
        front.chmod(0o755)
        before = git(repository, "rev-parse", "HEAD")
        environment = {**os.environ, "PATH": f"{front.parent}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()}
        program = [sys.executable, "-c", KILLED, str(repository)]
        ended = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
        git(repository, "fsck", "--strict")
        assert not (repository / ".git" / "index.lock").exists()
        assert (repository / "a.txt").read_text() == f"{moment} {number}\n"
        assert git(repository, "show", ":b.txt") == "staged\n"
        assert git(repository, "diff", "--name-only") in ("", "a.txt\n", "new.txt\n", "a.txt\nnew.txt\n")
        is_made = git(repository, "rev-parse", "HEAD") != before
        outcomes.add((ended.returncode, is_made))
        if ended.returncode == 0:
            break
        assert ended.returncode == -9, ended.stderr
        if not is_made:
            commit(repository, "a.txt", "new.txt")
        assert short(repository) == ["A  b.txt"]
    assert {(-9, False), (0, True)} <= outcomes
    assert ((-9, True) in outcomes) == (moment == "after")


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process] if process.cwd() == str(folder) else []
    return found


def test_a_cancelled_commit_ends_its_processes_and_changes_nothing(repository, tmp_path, monkeypatch):
    front = tmp_path / "bin" / "git"
    front.parent.mkdir()
    front.write_text(f'#!/bin/sh\ncase "$*" in *write-tree*) sleep 60;; esac\nexec {GIT} "$@"\n')
    front.chmod(0o755)
    monkeypatch.setenv("PATH", f"{front.parent}:{os.environ['PATH']}")
    (repository / "a.txt").write_text("changed\n")
    before = everything(repository)

    async def run() -> None:
        repo = await Repository.open(Root.at(repository))
        with anyio.move_on_after(1), tempfile.TemporaryDirectory() as text:
            await propose(repo, ("a.txt",), Path(text))

    start = time.monotonic()
    anyio.run(run)
    assert time.monotonic() - start < 3
    assert everything(repository) == before
    assert not processes_in(repository)
