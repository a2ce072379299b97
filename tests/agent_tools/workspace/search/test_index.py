"""The index keeps step with the files, survives damage and kills, and never leaves the repository."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as search_database
from agent_tools.workspace.search import index as search_index
from agent_tools.workspace.search.database import FILE, IndexFailure
from agent_tools.workspace.search.index import Refreshed, refresh

REPOSITORY = Path(__file__).resolve().parents[4]


def update(folder: Path, **arguments) -> Refreshed:
    return anyio.run(lambda: refresh(Root.at(folder), **arguments))


def names(folder: Path) -> set[str]:
    with sqlite3.connect(folder / FILE) as database:
        rows = database.execute("select f.path, u.name from units u join files f on f.id = u.file").fetchall()
    database.close()
    return {f"{path}:{name}" if name else path for path, name in rows}


def problems(folder: Path) -> dict[str, str]:
    with sqlite3.connect(folder / FILE) as database:
        rows = database.execute("select path, problem from files where problem != ''").fetchall()
    database.close()
    return dict(rows)


def age(path: Path) -> None:
    """Make a file old enough for its times to be trusted."""
    os.utime(path, (1e9, 1e9))


def test_only_what_changed_is_read_again(repository, monkeypatch):
    (repository / "b.py").write_text("def first(): pass\n")
    assert update(repository).changed == 2
    read = []
    whole = search_index.read_whole
    monkeypatch.setattr(search_index, "read_whole", lambda top, path, most: read.append(path) or whole(top, path, most))
    monkeypatch.setattr(search_index, "YOUNG_NS", 0)
    update(repository)
    read.clear()
    assert update(repository).changed == 0
    assert read == []
    (repository / "b.py").write_text("def second(): pass\n")
    assert update(repository).changed == 1
    assert read == ["b.py"]
    assert "b.py:second" in names(repository)
    assert "b.py:first" not in names(repository)


def test_a_file_that_was_only_touched_keeps_its_units(repository):
    update(repository)
    age(repository / "a.txt")
    answer = update(repository)
    assert (answer.changed, answer.removed) == (0, 0)


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(repository, monkeypatch):
    second = 10**9

    def coarse(seen: os.stat_result) -> tuple[int, int, int, int]:
        return seen.st_size, seen.st_mtime_ns // second * second, seen.st_ctime_ns // second * second, seen.st_ino

    monkeypatch.setattr(search_index, "_stamp", coarse)
    file = repository / "b.py"
    for name in ("aa", "bb", "cc"):
        file.write_text(f"def {name}(): pass\n")
        update(repository)
        assert f"b.py:{name}" in names(repository)


def test_a_deleted_file_goes_and_a_renamed_one_moves(repository):
    (repository / "b.py").write_text("def f(): pass\n")
    update(repository)
    (repository / "b.py").rename(repository / "c.py")
    answer = update(repository)
    assert (answer.changed, answer.removed) == (1, 1)
    assert names(repository) == {"a.txt", "c.py", "c.py:f"}


def test_files_that_git_ignores_and_the_index_itself_are_left_out(repository):
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "x.log").write_text("x\n")
    for _ in range(2):
        update(repository)
    assert names(repository) == {"a.txt", ".gitignore"}


def test_the_index_is_never_offered_to_git(repository, git):
    update(repository)
    assert git(repository, "status", "--porcelain") == ""


def test_without_git_the_rules_of_gitignore_hold_in_every_folder(tmp_path):
    (tmp_path / "in" / "node_modules").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("*.log\n/top.txt\nbuilt/\n")
    (tmp_path / "in" / ".gitignore").write_text("!keep.log\nsecret.py\n")
    (tmp_path / "built").mkdir()
    (tmp_path / "on").mkdir()
    for name in (
        "a.py",
        "x.log",
        "top.txt",
        "built/b.py",
        "on/secret.py",
        "in/secret.py",
        "in/top.txt",
        "in/node_modules/c.py",
    ):
        (tmp_path / name).write_text("x = 1\n")
    update(tmp_path)
    assert {name for name in names(tmp_path) if ":" not in name} == {
        ".gitignore",
        "a.py",
        "in/.gitignore",
        "in/top.txt",
        "on/secret.py",
    }


# --- attacks -----------------------------------------------------------------------------------------------------


def test_links_out_of_the_root_are_not_followed(repository, tmp_path, git):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("def stolen(): pass\n")
    (repository / "link.py").symlink_to(outside / "secret.py")
    (repository / "folder").mkdir()
    (repository / "folder" / "secret.py").write_text("def own(): pass\n")
    git(repository, "add", ".")
    update(repository)
    assert "folder/secret.py:own" in names(repository)
    shutil.rmtree(repository / "folder")
    (repository / "folder").symlink_to(outside)
    update(repository)
    assert not any("secret" in name or "link.py" in name for name in names(repository))


def file_by_link(place: Path, outside: Path) -> None:
    place.unlink()
    place.symlink_to(outside / place.name)


def folder_by_link(place: Path, outside: Path) -> None:
    shutil.rmtree(place.parent)
    place.parent.symlink_to(outside)


def file_by_pipe(place: Path, outside: Path) -> None:
    place.unlink()
    os.mkfifo(place)


@pytest.mark.parametrize("swap", [file_by_link, folder_by_link, file_by_pipe])
def test_what_takes_the_place_of_a_listed_file_is_not_read(repository, tmp_path, monkeypatch, swap):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.py").write_text("def stolen(): pass\n")
    (repository / "folder").mkdir()
    (repository / "folder" / "b.py").write_text("def own(): pass\n")
    seen = search_index.stamped

    def swapped(top, paths):
        found = list(seen(top, paths))
        swap(repository / "folder" / "b.py", tmp_path / "outside")
        return found

    monkeypatch.setattr(search_index, "stamped", swapped)
    update(repository)
    assert "folder/b.py:stolen" not in names(repository)
    assert "found by its name alone" in problems(repository)["folder/b.py"]


def test_a_pipe_blocks_nobody(repository):
    os.mkfifo(repository / "pipe.py")
    update(repository)
    assert names(repository) == {"a.txt"}


def test_a_file_that_goes_between_listing_and_reading_is_left_out(repository, monkeypatch):
    (repository / "b.py").write_text("def f(): pass\n")
    seen = search_index.stamped

    def vanish(top, paths):
        found = list(seen(top, paths))
        (repository / "b.py").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(search_index, "stamped", vanish)
    update(repository)
    assert names(repository) == {"a.txt"}


def test_huge_binary_and_broken_files_are_found_by_what_can_be_known(repository):
    (repository / "generated.py").write_text("x = 1\n" * 3_500_000)
    (repository / "picture.bin").write_bytes(bytes(range(256)) * 100)
    (repository / "broken.py").write_text("def broken(:\n")
    (repository / "latin.py").write_bytes(b"# \xe9t\xe9\ndef f(): pass\n")
    update(repository)
    found = problems(repository)
    assert set(found) == {"generated.py", "broken.py"}
    assert "21.0 MB is over 1.0 MB" in found["generated.py"]
    assert "not valid Python" in found["broken.py"]
    assert {"generated.py", "picture.bin", "broken.py", "latin.py:f"} <= names(repository)


def test_a_name_that_is_no_text_harms_nothing(repository):
    Path(os.fsdecode(os.fsencode(repository) + b"/\xff.py")).write_text("def f(): pass\n")
    (repository / "quo\"te' OR 1; drop table files;--.py").write_text("def f(): pass\n")
    update(repository)
    assert any(name.startswith("quo") for name in names(repository))
    assert update(repository).files == 2


@pytest.mark.parametrize("damage", ["text", "empty", "middle", "cut", "foreign", "version", "root", "tables"])
def test_a_file_that_is_not_this_index_is_built_anew_and_said_so(repository, damage):
    update(repository)
    path = repository / FILE
    whole = path.read_bytes()
    if damage in ("text", "empty", "middle", "cut"):
        middle = whole[:4096] + bytes(len(whole) - 4096)
        path.write_bytes({"text": b"no database", "empty": b"", "middle": middle, "cut": whole[:6000]}[damage])
    else:
        statement = {
            "foreign": "pragma application_id = 7",
            "version": "pragma user_version = 99",
            "root": "update origin set root = '/elsewhere'",
            "tables": "drop table origin",
        }[damage]
        database = sqlite3.connect(path)
        database.execute(statement)
        database.commit()
        database.close()
    answer = update(repository)
    assert answer.note.startswith("the index was built anew: it ")
    assert names(repository) == {"a.txt"}
    assert update(repository).note == ""


def test_damage_that_shows_only_while_writing_is_mended_too(repository):
    update(repository)
    database = sqlite3.connect(repository / FILE)
    database.execute("drop table body_words")
    database.commit()
    database.close()
    (repository / "b.py").write_text("def f(): pass\n")
    assert "it was damaged" in update(repository).note
    assert names(repository) == {"a.txt", "b.py", "b.py:f"}


def test_a_folder_for_the_index_that_leads_out_is_refused(repository, tmp_path):
    (tmp_path / "out").mkdir()
    (repository / "outputs").symlink_to(tmp_path / "out")
    with pytest.raises(IndexFailure, match="outside of the repository"):
        update(repository)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_a_sentence_and_the_old_index_stays(repository, monkeypatch):
    update(repository)
    (repository / "b.py").write_text("".join(f"def function_{number}(): pass\n" for number in range(3000)))
    monkeypatch.setattr(search_database, "MOST_PAGES", 60)
    with pytest.raises(IndexFailure, match=r"full.*free space"):
        update(repository)
    assert names(repository) == {"a.txt"}
    monkeypatch.undo()
    assert update(repository).changed == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_a_sentence(repository):
    (repository / "outputs").mkdir(mode=0o500)
    with pytest.raises(IndexFailure, match="fix"):
        update(repository)


def slow_build(folder: Path, ready: object) -> None:
    read = search_index.read_whole

    def slowly(top, path, most):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(0.05)
        return read(top, path, most)

    search_index.read_whole = slowly
    search_index.BATCH = 10
    anyio.run(lambda: refresh(Root.at(folder)))


def start_slow_build(folder: Path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=slow_build, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    return process


@pytest.fixture
def many(repository: Path) -> Path:
    for number in range(60):
        (repository / f"f{number:02}.py").write_text(f"def function_{number}(): pass\n")
    return repository


def test_a_builder_that_is_killed_leaves_what_the_next_one_goes_on_with(many):
    process = start_slow_build(many)
    time.sleep(0.8)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    answer = update(many)
    assert answer.note == ""
    assert 0 < answer.changed <= 61
    assert len(names(many)) == 1 + 2 * 60


def test_a_question_beside_a_builder_is_answered_at_once_from_what_was_there(many):
    update(many)
    for file in many.glob("f*.py"):
        file.write_text(file.read_text().replace("function", "renamed"))
    process = start_slow_build(many)
    start = time.monotonic()
    answer = update(many)
    assert "another process is updating the index" in answer.note
    assert time.monotonic() - start < 2
    process.join()
    assert update(many).note == ""
    assert "f00.py:renamed_0" in names(many)


def test_a_first_question_waits_for_the_process_that_builds(many):
    process = start_slow_build(many)
    assert update(many).units == 1 + 2 * 60
    process.join()
    assert process.exitcode == 0


def test_a_cancelled_refresh_ends_within_two_seconds_and_the_next_one_is_whole(many, monkeypatch):
    read = search_index.read_whole
    monkeypatch.setattr(search_index, "read_whole", lambda *given: time.sleep(0.1) or read(*given))

    async def cancelled() -> float:
        with anyio.move_on_after(0.5):
            await refresh(Root.at(many))
        return anyio.current_time()

    start = time.monotonic()
    anyio.run(cancelled)
    assert time.monotonic() - start < 2.5
    monkeypatch.undo()
    update(many)
    assert len(names(many)) == 1 + 2 * 60


def test_progress_is_told_while_many_files_are_read(many, monkeypatch):
    monkeypatch.setattr(search_index, "BATCH", 20)
    told = []

    async def report(done: float, total: float | None, message: str) -> None:
        told.append((done, total, message))

    update(many, report=report)
    assert told[0] == (20, 61, "read 20 of 61 files")
    assert told[-1][:2] == (61, 61)


def test_searching_imports_nothing_heavy():
    code = "import sys; from agent_tools.workspace.search import searching, usages; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "numpy", "duckdb", "pathspec", "mcp"} & set(loaded)


def test_a_carriage_return_alone_ends_a_line_as_it_does_for_python(repository):
    (repository / "old.py").write_bytes(b"A = 1\rB = 2\r\rdef zebra():\r    pass\r")
    update(repository)
    assert "old.py:zebra" in names(repository)
