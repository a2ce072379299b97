"""Fingerprints: a stable machine key, a tree that is described without running its programs, and no private text."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_tools.records import fingerprints
from agent_tools.records.fingerprints import (
    FingerprintError,
    canonical_hash,
    file_sha256,
    machine,
    machine_key,
    strip_private,
)
from agent_tools.records.repository import git_state

ROOT = Path("/home/ann/projects/bench")
HOST = "node17.lab.example"


@pytest.fixture(autouse=True)
def _known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """One host and account wherever the tests run: a machine may be called `localhost`, or a user `data`."""
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "mallory")
    monkeypatch.setenv("HOME", "/home/mallory")


# --- machine ---


def test_the_machine_key_ignores_load_and_frequency(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine()
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 99.0, 99.0))
    monkeypatch.setattr(fingerprints, "_cpu_mhz", lambda: 1.0)
    after = machine()
    assert after.observations["load_1m"] == 99.0
    assert after.observations != before.observations
    assert after.key == before.key == machine_key(before)


def test_the_machine_key_changes_with_every_stable_field() -> None:
    here = machine()
    changes = {
        "cpu_model": "other",
        "cores": here.cores + 1,
        "memory_gib": here.memory_gib + 1,
        "gpu_model": "other",
        "gpu_count": here.gpu_count + 1,
        "os": "other",
        "libraries": here.libraries | {"torch": "0"},
    }
    keys = {machine_key(here.model_copy(update={name: value})) for name, value in changes.items()}
    assert len(keys | {here.key}) == len(changes) + 1


def test_describing_the_machine_imports_neither_torch_nor_the_trainer() -> None:
    code = (
        "import sys; import agent_tools.measure.ladder, agent_tools.measure.profile;"
        "from agent_tools.records.fingerprints import machine; machine();"
        "print([m for m in ('torch', 'ocr', 'mcp', 'scipy', 'cv2') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_canonical_hashes_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    assert canonical_hash({"a": 1, "b": [2]}) == canonical_hash({"b": [2], "a": 1})
    assert canonical_hash({"a": 1}) != canonical_hash({"a": 2})
    with pytest.raises(FingerprintError, match=r"absent\.bin cannot be hashed"):
        file_sha256(tmp_path / "absent.bin")


# --- git ---


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    answer = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one\n")
    git(folder, "add", "a.txt")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    state = git_state(repository)
    assert state is not None
    assert state.commit == git(repository, "rev-parse", "HEAD").strip()
    assert (state.branch, state.dirty, state.dirty_hash, state.changed_files) == ("main", False, "", [])


def test_every_kind_of_uncommitted_change_gives_its_own_hash(repository: Path) -> None:
    hashes = []
    for change in ("two\n", "three\n"):
        (repository / "a.txt").write_text(change)
        hashes.append(git_state(repository))
    (repository / "ä new.txt").write_text("new")
    hashes.append(git_state(repository))
    (repository / "ä new.txt").write_text("newer")
    hashes.append(git_state(repository))
    git(repository, "add", "-A")
    states = [state for state in hashes if state is not None]
    assert len({state.dirty_hash for state in states}) == 4
    assert states[-1].changed_files == [" M a.txt", "?? ä new.txt"]


def test_a_repository_without_commits_and_a_folder_without_repository_are_described(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("x")
    state = git_state(tmp_path)
    assert state is not None
    assert (state.commit, state.branch, state.dirty) == ("", "main", True)
    assert len(state.dirty_hash) == 64


def test_no_program_that_the_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch '{marker}'\ncat\n")
    trap.chmod(0o755)
    (repository / ".gitattributes").write_text("*.txt filter=evil diff=evil\n*.bin filter=we=ird\n")
    (repository / "b.bin").write_text("b")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "attributes")
    included = tmp_path / "included.cfg"
    included.write_text(f'[filter "we=ird"]\n\tclean = {trap}\n\trequired = true\n')
    for key in ("filter.evil.clean", "filter.evil.process", "diff.evil.command", "diff.evil.textconv"):
        git(repository, "config", key, str(trap))
    for key in ("diff.external", "core.fsmonitor", "gpg.program", "core.pager"):
        git(repository, "config", key, str(trap))
    git(repository, "config", "include.path", str(included))
    git(repository, "config", "filter.evil.required", "true")
    (repository / "a.txt").write_text("changed\n")
    (repository / "b.bin").write_text("c")
    state = git_state(repository)
    assert state is not None
    assert state.changed_files == [" M a.txt", " M b.bin"]
    assert not marker.exists()


def test_a_work_tree_outside_the_repository_is_refused(repository: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    git(repository, "config", "core.worktree", str(outside))
    with pytest.raises(FingerprintError, match=r"core\.worktree"):
        git_state(repository)


def test_git_variables_of_the_caller_do_not_redirect_the_look(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_state(repository)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert git_state(repository) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_checkout_that_belongs_to_another_user_is_described(repository: Path) -> None:
    expected = git_state(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    plain = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    refused = subprocess.run(["git", "status"], cwd=repository, env=plain, capture_output=True, text=True, check=False)
    assert "dubious ownership" in refused.stderr
    assert git_state(repository) == expected


def test_a_folder_inside_a_repository_and_a_linked_worktree_are_described(repository: Path, tmp_path: Path) -> None:
    (repository / "inner").mkdir()
    (repository / "inner" / "b.txt").write_text("b")
    state = git_state(repository / "inner")
    assert state is not None
    assert state == git_state(repository)
    assert state.changed_files == ["?? inner/b.txt"]
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    linked = git_state(tmp_path / "linked")
    assert linked is not None
    assert (linked.branch, linked.dirty) == ("side", False)


# --- privacy ---


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("/home/ann/projects/bench/.venv/bin/python", ".venv/bin/python"),
        ("/home/ann/projects/bench", "."),
        ("/home/ann/projects/bench/", "."),
        ("dataset_base_path=/home/ann/projects/bench/data/", "dataset_base_path=data/"),
        ("/home/ann/projects/bench2/x.txt", "x.txt"),
        ("checkpoint=/mnt/big disk/best model.ckpt", "checkpoint=best model.ckpt"),
        ("checkpoint='/mnt/big disk/best.ckpt'", "checkpoint='best.ckpt'"),
        ("files=[/a/b.txt,/c/d.txt]", "files=[b.txt,d.txt]"),
        ("PATH=/usr/bin:/home/ann/bin", "PATH=bin"),
        ("no such file: '/home/ann/x.jpg', see /var/log/y", "no such file: 'x.jpg', see y"),
        ("-c/etc/conf.ini", "-cconf.ini"),
        ("/home/ann", "<user>"),
        ("/", "<path>"),
        ("file:///home/ann/x", "x"),
        (r"C:\Users\ann\receipts", "receipts"),
        ("data at ../../home/ann/receipts", "data at ../../<user>/receipts"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("../shared/data/receipts", "../shared/data/receipts"),
        ("1.5 images/second, 3 / 4", "1.5 images/second, 3 / 4"),
        ("image_size=[640,640]", "image_size=[640,640]"),
        ("${dataset_base_path}images/val", "${dataset_base_path}images/val"),
    ],
)
def test_paths_become_relative_or_their_last_part(given_text: str, kept: str) -> None:
    assert strip_private(given_text, ROOT) == kept


def test_account_and_host_become_placeholders_in_values_keys_and_lists() -> None:
    value = {"mallory": ["run on NODE17 by mallory", 3, None, True], "url": "tcp://node17.lab.example:80"}
    cleaned = strip_private(value, ROOT)
    assert cleaned == {"<user>": ["run on <host> by <user>", 3, None, True], "url": "tcp://<host>:80"}


PARTS = st.text(alphabet="abcXYZ019._- é", min_size=1, max_size=8).map(lambda part: f"n{part.strip()}n")
ABSOLUTE = st.lists(PARTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
HOMES = st.builds(lambda top, rest: f"/{top}/secretuser{rest}", st.sampled_from(["home", "Users"]), ABSOLUTE)
ROOTED = ABSOLUTE.map(lambda path: str(ROOT) + path)
PATHS = st.one_of(ABSOLUTE, HOMES, ROOTED)
FRAMES = st.sampled_from(
    ["{}", "key={}", "+a.b={}", "--out={}", "'{}'", '"{}"', "k='{}'", "[{}]", "a,{}", "a:{}", "({})", "<{}>", "see {}"]
)


@settings(deadline=None)
@given(st.lists(st.tuples(FRAMES, PATHS), min_size=1, max_size=3), st.sampled_from([" ", ", ", "\n", ";", "="]))
def test_no_absolute_path_home_or_host_survives(framed: list[tuple[str, str]], joint: str) -> None:
    text = joint.join(frame.format(path) for frame, path in framed) + f" on {HOST}"
    cleaned = strip_private({"argv": [text], text: "k"}, ROOT)
    for result in (cleaned["argv"][0], *cleaned):
        assert "/home" not in result
        assert "/Users" not in result
        assert str(ROOT) not in result
        assert HOST not in result.lower()
        assert not [word for word in re.split(r"[\s'\"=,:;()\[\]<>]+", result) if os.path.isabs(word)]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_cleaned_and_stays_clean(text: str) -> None:
    once = strip_private(text, ROOT)
    assert strip_private(once, ROOT) == once
    assert not os.path.isabs(once)
