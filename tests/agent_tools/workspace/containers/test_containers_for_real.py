"""Images and containers on a real engine: `make test-docker` sets it up; elsewhere these tests are skipped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import docker
import psutil
import pytest

from agent_tools.workspace.containers.engine import EngineError
from agent_tools.workspace.containers.images import ImageBuilt, image_build
from agent_tools.workspace.containers.running import ContainerRun, container_run
from agent_tools.workspace.containers.status import ContainerStatus, container_status
from agent_tools.workspace.root import Root

if "TEST_DOCKER_IMAGE" not in os.environ:
    missing = os.environ.get("TEST_DOCKER_MISSING", "needs a Docker engine of its own: run `make test-docker`")
    pytest.skip(missing, allow_module_level=True)

pytestmark = pytest.mark.docker

BASE = os.environ["TEST_DOCKER_IMAGE"]
TREE = Path(__file__).parents[4]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.at(tmp_path)


@pytest.fixture(scope="module")
def engine() -> Any:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def nothing_remains(engine):
    yield
    assert engine.containers.list(all=True) == []


def run(root: Root, *command: str, **given: Any) -> ContainerRun:
    return anyio.run(partial(container_run, root, BASE, command=command, **given))


def build(root: Root, dockerfile: str, tag: str = "built:1", **given: Any) -> ImageBuilt:
    (root.path / "Dockerfile").write_text(dockerfile)
    return anyio.run(partial(image_build, root, tag, **given))


def status(**given: Any) -> ContainerStatus:
    return anyio.run(partial(container_status, **given))


# --- runs --------------------------------------------------------------------------------------------------------


def test_what_a_command_prints_and_how_it_ends_comes_back(root):
    found = run(root, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (found.exit_code, found.stdout, found.stderr, found.kept) == (3, "out\n", "err\n", "")
    assert found.is_failure()


def test_a_command_has_no_rights_at_all(root):
    found = run(root, "sh", "-c", "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status")
    user, *rights = found.stdout.splitlines()
    assert user == "65534"
    expected = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert dict(line.split(":\t") for line in rights) == expected


def test_a_command_sees_neither_a_network_nor_the_processes_of_this_machine(root):
    found = run(
        root, "sh", "-c", "ls /sys/class/net; ls -d /proc/[0-9]* | wc -l; ls /dev | wc -l; ls /dev/sda /dev/vda"
    )
    assert found.stdout.split()[0] == "lo"
    assert int(found.stdout.split()[1]) < 6
    assert "No such file" in found.stderr


def test_only_tmp_can_be_written_unless_the_image_may_be(root):
    write = ("sh", "-c", "touch /tmp/x && echo tmp; mkdir /x && echo root")
    assert run(root, *write).stdout == "tmp\n"
    # The image's own files belong to root, and the command does not.
    assert "Read-only file system" in run(root, *write).stderr
    assert "Permission denied" in run(root, *write, writable=True).stderr


def test_files_of_the_repository_can_be_read_and_not_changed(root):
    (root.path / "data").mkdir()
    (root.path / "data" / "a.txt").write_text("given\n")
    root.path.chmod(0o755)
    found = run(
        root, "sh", "-c", "cat /mnt/data/a.txt /b.txt; echo x >/mnt/data/a.txt", mounts="data,data/a.txt:/b.txt"
    )
    assert found.stdout == "given\ngiven\n"
    assert "Read-only file system" in found.stderr
    assert (root.path / "data" / "a.txt").read_text() == "given\n"


def test_a_link_in_a_mount_leads_nowhere_out_of_the_container(root):
    (root.path / "data").mkdir()
    (root.path / "data" / "link").symlink_to(root.path / "secret")
    (root.path / "secret").write_text("no\n")
    found = run(root, "cat", "/mnt/data/link", mounts="data")
    assert "No such file" in found.stderr


def test_memory_processes_and_time_are_limited(root):
    eaten = run(root, "sh", "-c", "x=aaaaaaaa; while true; do x=$x$x; done", memory_mib=32)
    assert eaten.out_of_memory
    assert eaten.exit_code == 137
    forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait"
    assert "fork" in run(root, "sh", "-c", forks, pids=4, max_seconds=20).stderr
    slow = run(root, "sh", "-c", "echo begun; sleep 100", max_seconds=1)
    assert (slow.exit_code, slow.stdout) == (-1, "begun\n")
    assert "stopped after 1 s" in slow.note
    assert slow.seconds < 5


def test_a_long_output_is_cut_and_kept_and_an_endless_one_fills_nothing(root):
    found = run(root, "sh", "-c", "echo first; seq 20000; echo last")
    assert len(found.stdout) < 6000
    assert found.stdout.startswith("first\n")
    assert found.stdout.endswith("last\n")
    assert "\n12345\n" in root.resolve(found.kept).read_text()
    found = run(root, "sh", "-c", "head -c 12000000 /dev/zero | tr '\\0' 'x' | fold -w 1000", max_seconds=60)
    assert len(root.resolve(found.kept).read_bytes()) < 6 << 20


def test_a_program_is_not_believed_what_it_prints_of_secrets_or_in_the_dark(root):
    found = run(root, "printf", "AKIAABCDEFGHIJKLMNOP a\\342\\200\\256b")
    assert found.stdout == "<secret masked> a<U+202E>b"
    assert found.untrusted


@pytest.mark.parametrize(
    ("image", "command", "said"),
    [
        ("missing:1", (), "no image 'missing:1'"),
        ("-x", (), "refuses|no image"),
        (BASE, ("no-such-program",), "executable file not found"),
        (BASE, (), "[Nn]o command"),
    ],
)
def test_what_cannot_run_is_one_sentence(root, image, command, said):
    with pytest.raises(EngineError, match=said) as refusal:
        anyio.run(partial(container_run, root, image, command=command))
    assert "\n" not in str(refusal.value)


def test_a_container_is_gone_two_seconds_after_its_call_was_cancelled(root, engine):
    async def cancelled() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(container_run, root, BASE, command=("sleep", "300")))
            with anyio.fail_after(30):
                while not engine.containers.list():
                    await anyio.sleep(0.05)
            begun = time.monotonic()
            group.cancel_scope.cancel()
        return time.monotonic() - begun

    assert anyio.run(cancelled) < 2
    assert engine.containers.list(all=True) == []


@pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.3])
def test_whenever_a_call_is_cancelled_no_container_remains(root, after):
    async def cancelled() -> None:
        with anyio.move_on_after(after):
            await container_run(root, BASE, command=("sleep", "300"))

    anyio.run(cancelled)


def test_what_a_killed_server_left_is_named_removed_and_until_then_shown(root, engine):
    code = (
        "import anyio, sys; from pathlib import Path\n"
        "from agent_tools.workspace.containers.running import container_run\n"
        "from agent_tools.workspace.root import Root\n"
        f"anyio.run(lambda: container_run(Root.at(Path(sys.argv[1])), {BASE!r}, command=('sleep', '300')))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root.path)], cwd=TREE) as server:
        deadline = time.monotonic() + 30
        while not (found := engine.containers.list()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        name = found[0].name
        assert "server is gone" not in status().entries[0]["state"]
        assert run(root, "true").note == ""
        server.send_signal(signal.SIGKILL)
    rows = status().entries
    assert (rows[0]["kind"], rows[0]["name"]) == ("container", name)
    assert "server is gone" in rows[0]["state"]
    assert name in run(root, "true").note


def test_progress_is_reported_while_a_command_runs(root):
    said: list[str] = []

    async def note(done: float, total: float | None, message: str) -> None:
        said.append(message)

    run(root, "sleep", "1", report=note)
    assert any("running" in message for message in said)


# --- images ------------------------------------------------------------------------------------------------------


def test_an_image_is_built_from_a_folder_and_runs(root, engine):
    (root.path / "say.sh").write_text("echo said $1\n")
    (root.path / "outputs").mkdir()
    (root.path / "outputs" / "big").write_text("x")
    dockerfile = (
        'ARG BASE\nFROM $BASE\nARG WORD\nCOPY . /app\nRUN ls /app; echo word $WORD\nENTRYPOINT ["sh", "/app/say.sh"]'
    )
    made = build(root, dockerfile, arguments=(f"BASE={BASE}", "WORD=given"))
    assert made.image.startswith("sha256:")
    assert "Dockerfile\nsay.sh\nword given\n" in made.log
    found = anyio.run(partial(container_run, root, "built:1", command=("it",)))
    assert found.stdout == "said it\n"
    (row,) = [row for row in status().entries if row["name"] == "built:1"]
    assert row["kind"] == "image"
    assert build(root, dockerfile, arguments=(f"BASE={BASE}", "WORD=given")).image == made.image
    engine.images.remove("built:1")


def test_a_step_has_no_network(root, engine):
    made = build(root, f"FROM {BASE}\nRUN ls /sys/class/net")
    assert "\nlo\n" in made.log
    assert "eth0" not in made.log
    engine.images.remove("built:1")


def test_a_build_that_fails_says_where_with_its_log(root):
    made = build(root, f"FROM {BASE}\nRUN echo before; seq 5000; exit 7")
    assert (made.image, made.is_failure()) == ("", True)
    assert "non-zero code: 7" in made.problem
    assert "before" in made.log
    assert "\n4321\n" in root.resolve(made.kept).read_text()


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FRM x", "unknown instruction"),
        ("FROM missing:1", "base image 'missing:1' is not on this engine"),
        (f"FROM {BASE}\nCOPY --from=missing:2 /x /x", "base image 'missing:2' is not on this engine"),
        (f"FROM {BASE}\nADD http://127.0.0.1:9/x /x", "ADD http://127.0.0.1:9/x would be fetched"),
    ],
)
def test_what_cannot_be_built_without_fetching_is_one_sentence(root, dockerfile, said):
    with pytest.raises(EngineError, match=said) as refusal:
        build(root, dockerfile)
    assert "\n" not in str(refusal.value)


def test_a_copy_from_outside_of_the_folder_finds_nothing(root):
    made = build(root, f"FROM {BASE}\nCOPY ../../../../etc/passwd /x")
    assert made.image == ""
    assert "failed" in made.problem or "not found" in made.problem or "no such file" in made.problem


def test_a_build_ends_with_its_call_and_leaves_no_process(root, engine):
    (root.path / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo begun; sleep 300")

    async def cancelled() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(image_build, root, "built:2"))
            with anyio.fail_after(60):
                while not engine.containers.list():
                    await anyio.sleep(0.05)
            begun = time.monotonic()
            group.cancel_scope.cancel()
        ended = time.monotonic() - begun
        with anyio.fail_after(2):
            while engine.containers.list(all=True):
                await anyio.sleep(0.05)
        return ended

    assert anyio.run(cancelled) < 2
    assert psutil.Process().children(recursive=True) == []


def test_a_build_that_takes_too_long_is_stopped_and_shows_how_far_it_came(root, engine):
    seen: list[tuple[float, float | None, str]] = []

    async def note(done: float, total: float | None, message: str) -> None:
        seen.append((done, total, message))

    made = build(root, f"FROM {BASE}\nRUN echo begun; sleep 300", max_seconds=3, report=note)
    assert "stopped after 3 s" in made.problem
    assert "begun" in made.log
    assert (1.0, 3.0, "RUN echo begun; sleep 300") in seen
    while engine.containers.list(all=True):
        time.sleep(0.05)


def test_the_status_names_the_engine_and_pages_through_what_is_ours(root, engine):
    for number in range(3):
        build(root, f"FROM {BASE}\nENV NUMBER={number}", tag=f"page:{number}")
    first = status(limit=2)
    assert first.engine.startswith("Docker ")
    assert "images" in first.disk
    second = status(limit=2, cursor=first.next_cursor)
    names = [row["name"] for row in (*first.entries, *second.entries)]
    assert sorted(names) == ["page:0", "page:1", "page:2"]
    assert second.next_cursor == ""
    assert BASE not in json.dumps([*first.entries, *second.entries])
    for number in range(3):
        engine.images.remove(f"page:{number}")
