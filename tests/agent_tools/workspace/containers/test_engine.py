"""Without an engine, or with one that hangs, a sentence comes at once; what a run may never do does not need one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import pytest

from agent_tools.jobs.processes import own_start
from agent_tools.workspace.containers import engine as docker_engine
from agent_tools.workspace.containers.engine import EngineError, is_left_behind, run_labels, socket_file
from agent_tools.workspace.containers.images import image_build
from agent_tools.workspace.containers.running import ContainerRun, _binds, confined, container_run, trimmed
from agent_tools.workspace.containers.status import container_status
from agent_tools.workspace.root import Root, RootError

SETTINGS = {"memory": 64, "cpus": 0.5, "pids": 8, "network": "none", "user": 65534, "writable": False}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return Root.at(tmp_path)


@pytest.mark.parametrize("name", ["status", "run", "build"])
def test_where_no_engine_answers_the_sentence_says_how_to_start_one(root, name):
    ask = {
        "status": container_status,
        "run": partial(container_run, root, "x"),
        "build": partial(image_build, root, "x:1"),
    }
    with pytest.raises(EngineError, match=r"No Docker engine answers at unix://.*; start one \(`sudo systemctl"):
        anyio.run(ask[name])


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "nonsense", "ssh://nobody@127.0.0.1:1", "http://["])
def test_an_engine_that_cannot_be_reached_in_another_way_is_the_same_sentence(root, monkeypatch, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineError, match="No Docker engine answers at"):
        anyio.run(container_status)


def test_an_engine_that_takes_the_call_and_says_nothing_is_given_up(root, monkeypatch, tmp_path):
    monkeypatch.setattr(docker_engine, "CONNECT_SECONDS", 0.5)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "no-engine"))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(EngineError, match="No Docker engine answers"):
            anyio.run(container_status)
        assert time.monotonic() - begun < 5


def test_a_missing_sdk_is_named_with_the_extra_that_brings_it(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(EngineError, match=r"pip install 'ocr-workbench\[docker\]'"):
        anyio.run(container_status)


def test_neither_the_catalogue_nor_the_server_imports_the_sdk():
    code = "import sys, agent_tools.server; raise SystemExit('docker' in sys.modules or 'requests' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_container_is_made_without_anything_that_it_could_break_out_with():
    made = confined(SETTINGS)
    assert made["privileged"] is False
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges"]
    assert (made["user"], made["network_mode"], made["read_only"]) == ("65534:65534", "none", True)
    assert (made["mem_limit"], made["memswap_limit"], made["nano_cpus"], made["pids_limit"]) == (
        64 << 20,
        64 << 20,
        5 * 10**8,
        8,
    )
    for name in ("pid_mode", "uts_mode", "userns_mode", "devices", "volumes", "cap_add", "cgroupns"):
        assert name not in made
    assert made["ipc_mode"] == "private"


@pytest.mark.parametrize(
    ("mount", "error", "said"),
    [
        ("../x", RootError, r"'\.\.'"),
        ("/etc", RootError, "outside"),
        ("/var/run/docker.sock", RootError, "outside"),
        ("missing", RootError, "does not exist"),
        ("out", RootError, "outside"),
        ("a:relative", EngineError, "no usable target"),
        ("a:/", EngineError, "no usable target"),
        ("a:/x/../proc", EngineError, "no usable target"),
        ("a:/proc/1", EngineError, "no usable target"),
        ("a:/sys", EngineError, "no usable target"),
        ("a:/dev/shm", EngineError, "no usable target"),
        ("a:/x\n", EngineError, "no usable target"),
        ("here.sock", EngineError, "is or holds a socket"),
        ("engine", EngineError, "is or holds a socket"),
        (".", EngineError, "is or holds a socket"),
    ],
)
def test_a_mount_that_would_open_this_machine_is_refused(root, tmp_path, monkeypatch, mount, error, said):
    (tmp_path / "a").mkdir()
    (tmp_path / "engine").mkdir()
    (tmp_path / "out").symlink_to("/etc")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine/docker.sock")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("here.sock")
        with pytest.raises(error, match=said):
            _binds(root, mount)


def test_a_mount_is_read_only_and_lies_where_it_was_asked_for(root, tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = _binds(root, "a/b,a:/srv/x")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert [(one["Target"], one["ReadOnly"]) for one in found] == [("/mnt/a/b", True), ("/srv/x", True)]
    assert found[0]["Source"] == str(tmp_path / "a" / "b")
    with pytest.raises(EngineError, match="another machine"):
        _binds(root, "a")


def test_only_a_container_of_a_dead_process_of_this_machine_counts_as_left_behind():
    mine = run_labels()[docker_engine.OWNER]
    place = mine.partition(":")[0]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not is_left_behind(mine)
    assert is_left_behind(f"{place}:{ended.pid}:{own_start():.0f}")
    assert is_left_behind(f"{place}:{os.getpid()}:{own_start() - 1000:.0f}")
    for foreign in (f"another/{place}:{ended.pid}:1", "", "x", f"{place}:", f"{place}:-1:-1"):
        assert not is_left_behind(foreign)


def test_the_socket_is_known_whichever_way_it_is_named(monkeypatch):
    for host, expected in [("", "docker.sock"), ("unix:///a/b.sock", "b.sock"), ("http+unix:///a/b.sock", "b.sock")]:
        monkeypatch.setenv("DOCKER_HOST", host)
        found = socket_file()
        assert found is not None
        assert found.name == expected


def test_a_long_output_keeps_its_head_and_its_tail():
    text = "a" * 3000 + "b" * 9000 + "end"
    short, cut = trimmed(text)
    assert cut
    assert short.startswith("aaa")
    assert short.endswith("end")
    assert "7003 characters left out" in short
    assert trimmed("short") == ("short", False)


def test_a_short_output_is_said_whole_and_of_a_long_one_the_end():
    def said(stdout: str) -> str:
        fields = {"exit_code": 0, "seconds": 1.0, "out_of_memory": False, "stderr": "", "kept": "", "note": ""}
        return ContainerRun(stdout=stdout, **fields).summary()

    assert said("a\nb\n") == "a\nb\n\nexit code 0 after 1.0 s"
    assert said("".join(f"{number}\n" for number in range(50))).startswith("40\n41\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tag": "Upper:1"}, "is no tag"),
        ({"tag": "-t"}, "is no tag"),
        ({"tag": "x:1 y"}, "is no tag"),
        ({"dockerfile": "../Dockerfile"}, r"'\.\.'"),
        ({"dockerfile": "missing"}, "does not exist"),
        ({"folder": "/etc"}, "outside"),
        ({"folder": "inner", "dockerfile": "link"}, "is no file in the folder"),
        ({"arguments": ("=x",)}, "is no build argument"),
    ],
)
def test_a_build_that_names_something_unusable_is_refused_before_an_engine_is_asked(root, tmp_path, given, said):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link").symlink_to("../Dockerfile")
    with pytest.raises((EngineError, RootError), match=said):
        anyio.run(partial(image_build, root, **{"tag": "x:1", **given}))
