"""A build sees one folder of the repository and nothing else."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from agent_tools.workspace.containers import build_context
from agent_tools.workspace.containers.build_context import ContextError, collect
from agent_tools.workspace.root import Root, RootError


@pytest.fixture
def root(tmp_path: Path) -> Root:
    files = {
        "Dockerfile": "FROM scratch\n",
        "app/a.py": "a",
        "app/secret.env": "TOKEN=1",
        "outputs/kept/x": "x",
        ".git/config": "[core]",
        "vendor/lib/.git/config": "[core]",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Root.at(tmp_path)


def sent(root: Root, folder: str = ".", dockerfile: str = "Dockerfile") -> dict[str, tarfile.TarInfo]:
    stream = io.BytesIO()
    collect(root, root.resolve(folder), dockerfile).write(stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        return {info.name: info for info in archive}


def test_outputs_and_the_history_are_never_sent(root):
    assert [name for name in sent(root) if "/" in name] == ["app/a.py", "app/secret.env", "vendor/lib"]


def test_what_dockerignore_names_is_left_out_and_its_exceptions_stay(root, tmp_path):
    (tmp_path / ".dockerignore").write_text("# a comment\n**/*.env\nvendor\nDockerfile\n!app/a.py\n!.git\n!outputs\n")
    assert sorted(sent(root)) == [".dockerignore", "Dockerfile", "app", "app/a.py"]


def test_files_belong_to_root_in_an_image_whoever_owns_them_here(root):
    assert {(info.uid, info.gid, info.uname) for info in sent(root).values()} == {(0, 0, "")}


def test_a_link_inside_stays_a_link_and_one_that_leads_out_is_refused_by_name(root, tmp_path):
    (tmp_path / "inside").symlink_to("app/a.py")
    assert sent(root)["inside"].issym()
    (tmp_path / "app" / "out").symlink_to("/etc/passwd")
    with pytest.raises(ContextError, match=r"'app/out' is a link out of the repository"):
        sent(root)
    (tmp_path / ".dockerignore").write_text("app/out\n")
    assert "app/out" not in sent(root)


def test_a_list_of_what_to_leave_out_that_is_a_link_out_is_not_read(root, tmp_path):
    (tmp_path / ".dockerignore").symlink_to("/etc/passwd")
    with pytest.raises(RootError, match="outside"):
        sent(root)


def test_a_file_that_became_a_link_after_the_look_is_not_followed(root, tmp_path):
    found = collect(root, tmp_path, "Dockerfile")
    (tmp_path / "app" / "a.py").unlink()
    (tmp_path / "app" / "a.py").symlink_to("/etc/passwd")
    stream = io.BytesIO()
    found.write(stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        info = archive.getmember("app/a.py")
        assert info.issym()
        assert info.size == 0


def test_pipes_and_sockets_are_left_out(root, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" not in sent(root)


def test_a_context_that_is_too_large_is_refused_with_its_largest_entries(root, tmp_path, monkeypatch):
    monkeypatch.setattr(build_context, "MOST_BYTES", 3 << 20)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.ckpt").write_bytes(bytes(4 << 20))
    with pytest.raises(
        ContextError, match=r"context is 4 MiB .*the largest: weights \(4 MiB, 2 files\), .*dockerignore"
    ):
        sent(root)
