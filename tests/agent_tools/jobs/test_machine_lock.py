"""One measurement at a time on a machine. Real processes hold the lock and die with it."""

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.jobs import machine_lock
from agent_tools.jobs.machine_lock import HOLDER_VARIABLE, PATH_VARIABLE, Holder, LockError, WaitCancelled, measuring
from tests.agent_tools.jobs.waiting import python

HOLD = """
import sys, time
from agent_tools.jobs.machine_lock import measuring
with measuring("compare main..HEAD"):
    print("held", flush=True)
    sys.stdin.read()
"""
TRY = """
import threading
from agent_tools.jobs.machine_lock import WaitCancelled, measuring
cancel = threading.Event(); cancel.set()
try:
    with measuring("try", cancel=cancel):
        print("free")
except WaitCancelled as error:
    print(error)
"""


@contextmanager
def another_holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(python(HOLD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def tried(**variables: str) -> str:
    """What another process finds that wants to measure now."""
    environment = os.environ | variables
    return subprocess.run(python(TRY), env=environment, capture_output=True, text=True, check=True).stdout.strip()


def measured_after(seconds: float) -> list[str]:
    """Take the lock once; return what was said, and fail if it takes longer."""
    said: list[str] = []
    cancel = threading.Event()
    timer = threading.Timer(seconds, cancel.set)
    timer.start()
    with measuring("mine", said.append, cancel):
        timer.cancel()
    return said


def test_who_waits_is_told_once_who_measures_and_gets_the_machine_when_that_one_is_done():
    said: list[str] = []
    with another_holder() as holder:
        assert holder.stdin is not None
        threading.Timer(1.0, holder.stdin.close).start()
        with measuring("mine", said.append):
            assert holder.wait(10) == 0
    assert len(said) == 1
    pattern = (
        rf"waiting for a command \(compare main\.\.HEAD, process {holder.pid}\), which measures on this machine since"
    )
    assert re.fullmatch(pattern + r" \d\d:\d\d", said[0])


def test_the_lock_of_a_killed_process_is_free():
    with another_holder() as holder:
        assert tried().startswith("Cancelled while waiting for a command")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert tried() == "free"


def test_a_wait_is_cancelled_within_half_a_second():
    cancel = threading.Event()
    with another_holder():
        threading.Timer(0.5, cancel.set).start()
        started = time.monotonic()
        with (
            pytest.raises(WaitCancelled, match="Cancelled while waiting for a command"),
            measuring("mine", None, cancel),
        ):
            pytest.fail("two measure at once")
        assert time.monotonic() - started < 10
    assert machine_lock.POLL_SECONDS < 0.5
    assert tried() == "free"


def test_a_process_and_all_its_threads_and_children_measure_as_one():
    entered = []
    with measuring("outer"):
        with measuring("inner"):
            thread = threading.Thread(target=lambda: entered.extend(measured_after(10)))
            thread.start()
            thread.join()
            assert tried() == "free"
        assert tried(**{HOLDER_VARIABLE: ""}).startswith("Cancelled while waiting for a command (outer")
    assert entered == []
    assert HOLDER_VARIABLE not in os.environ
    assert tried() == "free"


def test_a_holder_that_failed_lets_go():
    with pytest.raises(ValueError, match="broken"), measuring("fails"):
        raise ValueError("broken")
    assert tried() == "free"


def test_a_descriptor_that_was_handed_on_keeps_the_lock():
    with measuring("parent") as kept:
        child = subprocess.Popen(python("import sys; sys.stdin.read()"), stdin=subprocess.PIPE, pass_fds=kept)
    assert tried() != "free"
    child.communicate()
    assert tried() == "free"


@pytest.mark.parametrize("claim", ["command:1:0.00", "job", "20260101T000000Z-bench-aaaaaa:1:0.00"])
def test_a_claim_to_belong_to_a_holder_that_the_word_does_not_name_is_no_way_in(claim):
    with another_holder():
        assert tried(**{HOLDER_VARIABLE: claim}) != "free"


def test_the_word_of_a_dead_process_or_of_a_stranger_holds_nobody_up(machine_lock):
    word = Holder(title="old", pid=os.getpid(), started=0.0, since=datetime.now(UTC))
    machine_lock.write_text(word.model_dump_json())
    assert measured_after(10) == []


@given(st.one_of(st.binary(max_size=300), st.just(b"[" * 4000), st.just(b'{"title": "x", "pid": -1}')))
def test_any_word_is_survived_by_who_holds_and_by_who_waits(content):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        lock = Path(folder) / "lock"
        patch.setenv(PATH_VARIABLE, str(lock))
        lock.write_bytes(content)
        with measuring("mine"):
            lock.write_bytes(content)
            assert not machine_lock._OwnLock().enter(Holder(title="b", pid=1, started=0, since=datetime.now(UTC)))


def test_a_title_cannot_write_to_the_terminal_of_who_waits():
    word = Holder(title="a\x1b[31m\nb", pid=1, started=0.0, since=datetime.now(UTC))
    assert word.described().isprintable()


def test_every_user_may_use_the_lock_whatever_the_umask(machine_lock):
    before = os.umask(0o077)
    try:
        assert measured_after(10) == []
    finally:
        os.umask(before)
    assert machine_lock.stat().st_mode & 0o777 == 0o666


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_lock_of_another_user_in_a_folder_for_all_is_waited_for_and_then_used():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        lock = Path(folder) / "lock"
        lock.touch()
        lock.chmod(0o666)
        os.chown(lock, 65534, 65534)
        assert tried(**{PATH_VARIABLE: str(lock)}) == "free"


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "nowhere"])
def test_what_somebody_planted_in_place_of_the_lock_is_refused_and_not_touched(
    machine_lock, tmp_path, monkeypatch, kind
):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    match kind:
        case "link":
            machine_lock.symlink_to(precious)
        case "dangling":
            machine_lock.symlink_to(tmp_path / "made")
        case "pipe":
            os.mkfifo(machine_lock)
        case "folder":
            machine_lock.mkdir()
        case "nowhere":
            monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "no" / "folder" / "lock"))
    with pytest.raises(LockError, match=f"cannot be used .*{PATH_VARIABLE}"), measuring("mine"):
        pytest.fail("measured without a lock")
    assert precious.read_text() == "kept"
    assert not (tmp_path / "made").exists()


def test_a_lock_that_was_removed_between_opening_and_locking_is_opened_again(machine_lock, monkeypatch):
    opened = machine_lock_module_open(machine_lock, monkeypatch)
    with measuring("mine"):
        assert tried(**{HOLDER_VARIABLE: ""}) != "free"
    assert opened == ["removed", "kept"]


def machine_lock_module_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Remove the file after it was opened for the first time, as a cleaner of temporary folders would."""
    opened: list[str] = []
    real = machine_lock._open

    def open_then_remove() -> int:
        descriptor = real()
        if not opened:
            path.unlink()
        opened.append("kept" if opened else "removed")
        return descriptor

    monkeypatch.setattr(machine_lock, "_open", open_then_remove)
    return opened
