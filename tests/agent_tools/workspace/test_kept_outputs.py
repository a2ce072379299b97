"""Large answers stay readable, once each, and never fill the disk."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_tools.workspace import kept_outputs
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root, RootError


def test_the_same_answer_is_kept_once_and_read_at_the_path_that_was_given(tmp_path):
    root = Root.at(tmp_path)
    first = keep(root, "diff.patch", "a\nb\n")
    assert keep(root, "diff.patch", "a\nb\n") == first
    assert keep(root, "diff.patch", "other") != first
    assert first.startswith("outputs/kept/diff-")
    assert first.endswith(".patch")
    assert root.resolve(first).read_text() == "a\nb\n"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    root = Root.at(tmp_path)
    for name in ("../../x.txt", "/etc/x", "..", "a b\n.log", "x"):
        assert root.resolve(keep(root, name, b"1")).parent == tmp_path / "outputs" / "kept"


def test_a_folder_that_is_a_link_out_of_the_root_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "outputs").symlink_to(tmp_path / "out")
    with pytest.raises(RootError, match="outside"):
        keep(Root.at(tmp_path / "in"), "x.txt", "secret")
    assert not list((tmp_path / "out").iterdir())


def test_the_oldest_make_room_and_the_newest_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_outputs, "MOST_BYTES", 25)
    root = Root.at(tmp_path)
    paths = [root.resolve(keep(root, f"{index}.bin", bytes([index]) * 10)) for index in range(2)]
    for age, path in enumerate(paths):
        os.utime(path, (age, age))
    newest = root.resolve(keep(root, "3.bin", b"3" * 10))
    assert [path.exists() for path in (*paths, newest)] == [False, True, True]


def test_several_processes_that_keep_and_make_room_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_outputs, "MOST_BYTES", 200)
    root = Root.at(tmp_path)

    def keep_many(worker: int) -> list[str]:
        return [keep(root, "x.bin", f"{worker} {index} ".encode() * 10) for index in range(60)]

    with ThreadPoolExecutor(8) as pool:
        assert sum(len(paths) for paths in pool.map(keep_many, range(8))) == 480
