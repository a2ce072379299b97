"""Attacks on the store: killed writers, full disks, writers at the same moment. What was reported written is there."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_tools.records import store as store_module
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import ABANDONED_SECONDS, RecordError, RecordStore, write_once
from tests.agent_tools.records.build import record

REPOSITORY = Path(__file__).resolve().parents[3]
GONE = 2**22 + 1
"""No process has this id: the kernel's largest one is below it."""

WRITER = """
import sys
from pathlib import Path
from agent_tools.records.store import RecordStore
from tests.agent_tools.records.build import record
store = RecordStore(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    print(store.write(record(title=f"{number} " + "x" * 100_000), "race").stem, flush=True)
"""


def start_writer(root: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), str(count)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def kill_after(root: Path, seconds: float) -> set[str]:
    """Let a child write records, kill it at that moment, and return the ids that it had reported."""
    with start_writer(root, 100_000) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(seconds)
        os.kill(writer.pid, signal.SIGKILL)
        # The last line may be cut by the kill itself; a whole one ends with a newline.
        return {line.strip() for line in writer.stdout if line.endswith("\n")}


def temporaries(root: Path) -> list[Path]:
    return sorted((root / "logs").glob("*/records/.*.tmp"))


def test_every_record_that_a_killed_writer_reported_is_readable_and_no_half_file_is_listed(tmp_path: Path) -> None:
    moments = random.Random(7)
    reported: set[str] = set()
    for _ in range(20):
        reported |= kill_after(tmp_path, moments.uniform(0.0, 0.05))
    page = RecordStore(tmp_path).list_all()
    assert page.corrupt == []
    assert reported <= {item.id for item in page.records}
    # A kill between the rename and the report: at most one more record per writer than was reported.
    assert len(reported) <= len(page.records) <= len(reported) + 20
    assert len(reported) > 20
    assert all(len(item.title) > 100_000 for item in page.records)


def test_temporary_files_of_killed_writers_are_removed_by_a_later_write(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    folder = store.write(record(), "race").parent
    hour_ago = time.time() - ABANDONED_SECONDS - 60
    old_and_gone = leftover(folder, GONE, hour_ago)
    old_but_running = leftover(folder, os.getpid(), hour_ago)
    gone_but_young = leftover(folder, GONE, time.time())
    foreign = folder / ".notes.tmp"
    foreign.write_text("mine")
    os.utime(foreign, (hour_ago, hour_ago))
    store.write(record(), "race")
    assert not old_and_gone.exists()
    assert (old_but_running.exists(), gone_but_young.exists(), foreign.exists()) == (True, True, True)
    assert (store.list().total, store.list().corrupt) == (2, [])


def leftover(folder: Path, writer: int, moment: float) -> Path:
    path = folder / f".{record().id}.json.{writer}.{random.randbytes(3).hex()}.tmp"
    path.write_text('{"schema_ver')
    os.utime(path, (moment, moment))
    return path


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    with start_writer(tmp_path, 40) as one, start_writer(tmp_path, 40) as two:
        reported = [line.strip() for writer in (one, two) for line in (writer.stdout or [])]
        assert (one.wait(60), two.wait(60)) == (0, 0)
    page = RecordStore(tmp_path).list_all()
    assert (len(page.records), page.corrupt) == (80, [])
    assert {item.id for item in page.records} == {line for line in reported if line != "ready"}


SAME_ID = """
import sys
from pathlib import Path
from agent_tools.records.schema import (RunRecord)
from agent_tools.records.store import RecordError, RecordStore
RecordStore._files_of = lambda *_: iter(())
record = RunRecord.model_validate_json(Path(sys.argv[2]).read_text()).model_copy(update={"title": sys.argv[3] * 50_000})
print("ready", flush=True)
sys.stdin.readline()
try:
    RecordStore(Path(sys.argv[1])).write(record)
    print("written " + sys.argv[3])
except RecordError as error:
    print("refused" if "exists already" in str(error) else error)
"""


def test_of_two_writers_of_the_same_id_at_the_same_moment_one_is_refused(tmp_path: Path) -> None:
    # The look-up before the write is switched off in the children: what is left is what decides such a race.
    source = tmp_path / "record.json"
    for number in range(5):
        one = record()
        source.write_text(one.model_dump_json())
        said = sorted(race(tmp_path, source))
        assert [line.split()[0] for line in said] == ["refused", "written"]
        assert RecordStore(tmp_path).load(one.id).title == said[1].split()[1] * 50_000
        assert RecordStore(tmp_path).list().total == number + 1


def race(root: Path, source: Path) -> list[str]:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", SAME_ID, str(root), str(source), letter],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    return [writer.communicate("go\n", timeout=60)[0].strip() for writer in writers]


def test_a_file_system_without_hard_links_still_keeps_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(store_module.os, "link", refused)
    written = record()
    RecordStore(tmp_path).write(written)
    assert RecordStore(tmp_path).load(written.id) == written


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_once(path, "first")
    with pytest.raises(FileExistsError):
        write_once(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


STOPPED_MIDWAY = """
import resource, signal, sys
from pathlib import Path
from agent_tools.records.store import RecordStore
from tests.agent_tools.records.build import record
if sys.argv[2] == "killed":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
RecordStore(Path(sys.argv[1])).write(record(title="x" * 200_000), "full")
"""


@pytest.mark.parametrize("end", ["killed", "refused"])
def test_a_write_that_stops_half_way_leaves_no_record_in_sight(tmp_path: Path, end: str) -> None:
    command = [sys.executable, "-c", STOPPED_MIDWAY, str(tmp_path), end]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert answer.returncode == (-signal.SIGXFSZ if end == "killed" else 1)
    assert end == "killed" or b"could not be written: File too large" in answer.stderr
    page = RecordStore(tmp_path).list()
    assert (page.records, page.corrupt, page.total) == ([], [], 0)
    assert len(temporaries(tmp_path)) == (1 if end == "killed" else 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here; the file size limit stands in for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_the_record_with_a_sentence_and_keeps_the_earlier_ones(small_disk: Path) -> None:
    store = RecordStore(small_disk)
    kept: list[RunRecord] = []
    with pytest.raises(RecordError, match=r"could not be written: No space left on device; make room, then retry\."):
        fill(store, kept)
    assert len(kept) >= 2
    assert store.list().corrupt == []
    assert sorted(item.id for item in store.list_all().records) == sorted(item.id for item in kept)
    assert temporaries(small_disk) == []
    # With room again the same record is written.
    store.find(kept[0].id).unlink()
    again = record(title="x" * 50_000)
    store.write(again, "full")
    assert store.load(again.id) == again


def fill(store: RecordStore, kept: list[RunRecord]) -> None:
    for _ in range(50):
        one = record(title="x" * 50_000)
        store.write(one, "full")
        kept.append(one)
