"""Opening files: what lies inside the root and is a regular file, and nothing else, whatever is put in the way."""

import os
import socket
import stat
from pathlib import Path, PurePath

import pytest

from agent_tools.workspace.files import opening
from agent_tools.workspace.files.opening import FileError, open_below, open_file
from agent_tools.workspace.root import Root, RootError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A root with a file, beside a secret that lies outside."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a.txt").write_text("inside")
    return tmp_path / "in"


def content(root: Root, name: str) -> str:
    with open_file(root, name) as stream:
        return stream.read().decode()


def test_a_file_inside_is_opened_by_its_relative_and_its_absolute_name(project):
    root = Root.at(project)
    assert content(root, "sub/a.txt") == "inside"
    assert content(root, str(project / "sub" / "a.txt")) == "inside"


def test_a_link_inside_the_root_leads_to_its_file(project):
    (project / "link").symlink_to("sub/a.txt")
    assert content(Root.at(project), "link") == "inside"


@pytest.mark.parametrize("name", ["../secret.txt", "sub/../../secret.txt", "", "a\0b", "-x", ":(top)x", "/etc/passwd"])
def test_what_lies_outside_or_is_written_like_an_option_is_refused(project, name):
    with pytest.raises(RootError):
        open_file(Root.at(project), name)


def test_links_out_of_the_root_are_refused_also_in_the_middle_of_a_path(project):
    (project / "file").symlink_to(project.parent / "secret.txt")
    (project / "folder").symlink_to(project.parent)
    for name in ("file", "folder/secret.txt"):
        with pytest.raises(RootError, match="outside"):
            open_file(Root.at(project), name)


@pytest.mark.parametrize("part", ["sub", "sub/a.txt"])
def test_a_link_that_appears_between_the_check_and_the_opening_is_not_followed(project, part, monkeypatch):
    outside = project.parent / "elsewhere"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")

    def checked_then_swapped(root: Root, text: str) -> Path:
        path = root.path / text
        (project / part).rename(project / "moved")
        (project / part).symlink_to(outside if part == "sub" else outside / "a.txt")
        return path

    monkeypatch.setattr(Root, "resolve", checked_then_swapped)
    with pytest.raises(FileError, match="link"):
        open_file(Root.at(project), "sub/a.txt")


def test_a_link_that_appears_at_the_last_moment_is_not_followed(project, monkeypatch):
    real = os.stat

    def stat_then_swap(*arguments, **options):
        found = real(*arguments, **options)
        (project / "sub" / "a.txt").unlink()
        (project / "sub" / "a.txt").symlink_to(project.parent / "secret.txt")
        return found

    monkeypatch.setattr(opening.os, "stat", stat_then_swap)
    with pytest.raises(FileError, match="link"):
        open_below(str(project), PurePath("sub/a.txt"), "sub/a.txt")


def test_a_file_that_becomes_a_pipe_while_it_is_opened_does_not_hang(project, monkeypatch):
    real = os.stat(project / "sub" / "a.txt")
    os.unlink(project / "sub" / "a.txt")
    os.mkfifo(project / "sub" / "a.txt")
    monkeypatch.setattr(opening.os, "stat", lambda *_, **__: real)
    with pytest.raises(FileError, match="named pipe"):
        open_below(str(project), PurePath("sub/a.txt"), "sub/a.txt")


def test_pipes_sockets_and_folders_are_named_and_never_waited_for(project, monkeypatch):
    root = Root.at(project)
    os.mkfifo(project / "pipe")
    with pytest.raises(FileError, match="'pipe' is a named pipe"):
        open_file(root, "pipe")
    with pytest.raises(FileError, match="'sub' is a folder; file_find with"):
        open_file(root, "sub")
    with pytest.raises(FileError, match="folder"):
        open_file(root, ".")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(project)  # the name of a socket has to be short
        server.bind("sock")
        with pytest.raises(FileError, match="socket"):
            open_file(root, "sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device file")
def test_a_device_is_refused_before_it_is_opened(project):
    try:
        os.mknod(project / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device files cannot be made here")
    with pytest.raises(FileError, match="device"):
        open_file(Root.at(project), "device")


def test_a_missing_file_names_the_nearest(project):
    with pytest.raises(RootError, match=r"sub/a\.txt"):
        open_file(Root.at(project), "sub/b.txt")


def test_a_data_folder_is_read_by_its_absolute_path_only(project):
    data = project.parent / "data"
    data.mkdir()
    (data / "labels.json").write_text("{}")
    root = Root.at(project, (data,))
    assert content(root, str(data / "labels.json")) == "{}"
    with pytest.raises(RootError, match="outside"):
        open_file(root, str(project.parent / "secret.txt"))
    with pytest.raises(RootError, match="outside"):
        open_file(Root.at(project), str(data / "labels.json"))


def test_descriptors_are_closed_also_after_a_refusal(project):
    root = Root.at(project)
    os.mkfifo(project / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        content(root, "sub/a.txt")
        with pytest.raises(FileError):
            open_file(root, "pipe")
    assert len(os.listdir("/proc/self/fd")) == before
