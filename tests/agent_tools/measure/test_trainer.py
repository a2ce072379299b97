"""Starting the trainer: command lines, cancellation without orphans, and errors that say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import anyio
import psutil
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_tools.jobs.processes import marked
from agent_tools.measure.trainer import (
    TrainerCancelled,
    TrainerError,
    UnknownRun,
    find_run,
    hydra_value,
    list_runs,
    log_tail,
    read_features,
    read_run,
    resolve_config,
    run_command,
    run_trainer,
)
from tests.agent_tools.measure.standin import build_repository
from tests.agent_tools.records.build import START, run_file, write_run_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    build_repository(tmp_path)
    return tmp_path


def test_the_command_lines_are_those_of_the_trainer() -> None:
    assert run_command("train", ["seed=1"], "py") == ["py", "-m", "runners.train", "seed=1"]
    assert run_command("evaluate", ["passes=2"], "py") == ["py", "-m", "ocr.cli", "evaluate", "passes=2"]


@settings(deadline=None)
@given(st.text(alphabet="abc /.'=,\\$(){}[]:é-_\"", min_size=1, max_size=20))
def test_hydra_reads_a_quoted_value_back_as_it_was(text: str) -> None:
    override = OverridesParser.create().parse_override(f"key={hydra_value(text)}")
    assert str(override.value()) == text


def test_a_run_comes_back_with_its_run_file_and_its_log(root: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    done = run_trainer(root, "evaluate", ["passes=3"], progress=lambda *step: seen.append(step))
    assert done.path == root / "outputs" / done.run.id / "run.json"
    assert len(done.run.epochs) == 3
    assert f"run: outputs/{done.run.id}/run.json" in done.log.read_text()
    assert seen == [(3, 3, "val epoch 2: 3.3 s, icdar_hmean 0.800")]


def test_a_run_does_not_inherit_the_callers_allocator_or_import_path(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    done = run_trainer(root, "train")
    assert f"MALLOC: None PYTHONPATH: {root}" in done.log.read_text()


def test_a_failed_run_shows_the_end_of_its_log(root: Path) -> None:
    with pytest.raises(TrainerError, match=r"exit status 3(.|\n)*the batch is on fire"):
        run_trainer(root, "evaluate", ["standin.fail=yes"])


def test_a_run_that_is_refused_gives_the_trainers_own_sentence_alone(root: Path) -> None:
    with pytest.raises(TrainerError, match=r"^Run \S+ failed: checkpoint x.ckpt does not exist; give another path$"):
        run_trainer(root, "evaluate", ["standin.refuse=yes"])


def test_a_run_that_leaves_no_run_file_is_an_error(root: Path) -> None:
    with pytest.raises(TrainerError, match=r"left no run\.json"):
        run_trainer(root, "evaluate", ["standin.silent=yes"])


def _pids(file: Path, timeout: float = 120.0) -> list[int]:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if file.is_file() and len(file.read_text().split()) == 2:
            return [int(word) for word in file.read_text().split()]
        time.sleep(0.02)
    raise AssertionError("the stand-in never started")


def _gone(pids: list[int], within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def test_cancelling_ends_the_whole_process_group(root: Path) -> None:
    cancel, marker = threading.Event(), root / "pids"
    caught: list[BaseException] = []

    def run() -> None:
        try:
            run_trainer(root, "evaluate", [f"standin.hang={marker}"], cancel=cancel)
        except TrainerCancelled as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pids = _pids(marker)
    cancel.set()
    thread.join(20.0)
    assert not thread.is_alive()
    assert _gone(pids, 20.0)
    assert len(caught) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children of a killed parent on Linux only")
def test_a_run_does_not_outlive_a_starter_that_is_killed(root: Path) -> None:
    marker = root / "pids"
    code = (
        "import sys; from pathlib import Path; from agent_tools.measure.trainer import run_trainer;"
        "run_trainer(Path(sys.argv[1]), 'evaluate', ['standin.hang=' + sys.argv[2]])"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root), str(marker)]) as starter:
        trainer, grandchild = _pids(marker)
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait()
        assert _gone([trainer], 20.0)
        os.kill(grandchild, signal.SIGKILL)


def test_the_resolved_configuration_is_text_and_data(root: Path) -> None:
    config = anyio.run(resolve_config, root, ["seed=1"])
    assert "cache_config:" in config.text
    assert config.data["datasets"]["val_dataset"]["config"]["cache_config"] == {"cache_images": True}


def test_a_misspelt_key_is_refused_with_the_trainers_own_sentence(root: Path) -> None:
    with pytest.raises(TrainerError, match=r"batch_sise=4.*Could not override 'batch_sise'"):
        anyio.run(resolve_config, root, ["batch_sise=4"])


def test_features_come_from_the_newest_run_or_the_one_that_is_named(tmp_path: Path) -> None:
    old, new = run_file(id="20261121T200622Z-evaluate-aaaaaa"), run_file(id="my-own-name", features=[])
    for age, run in ((60, old), (0, new)):
        path = write_run_file(tmp_path, run)
        os.utime(path, (time.time() - age, time.time() - age))
    assert read_features(tmp_path) == read_features(tmp_path, "latest") == []
    assert read_features(tmp_path, old.id) == old.features
    assert [row.id for row in list_runs(tmp_path)] == [new.id, old.id]
    assert len(list_runs(tmp_path, limit=1)) == 1


def test_samples_of_ladders_are_found_by_id_but_are_not_the_newest_run(tmp_path: Path) -> None:
    own = run_file(id="own-run", started=START - timedelta(days=1))
    write_run_file(tmp_path, own)
    write_run_file(tmp_path, run_file(), "outputs/ladders/x/runs")
    assert read_run(tmp_path).id == "own-run"
    assert read_run(tmp_path, run_file().id) == run_file()


def test_an_unknown_run_names_the_nearest_ids(tmp_path: Path) -> None:
    with pytest.raises(UnknownRun, match="agent-tools train run"):
        find_run(tmp_path)
    write_run_file(tmp_path, run_file())
    with pytest.raises(UnknownRun, match=f"nearest are {run_file().id}"):
        find_run(tmp_path, run_file().id[:-2])
    with pytest.raises(UnknownRun, match="No id resembles it"):
        find_run(tmp_path, "??")


def test_a_file_that_is_no_run_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write_run_file(tmp_path, run_file())
    (tmp_path / "outputs" / "broken").mkdir()
    (tmp_path / "outputs" / "broken" / "run.json").write_text("{")
    assert [row.id for row in list_runs(tmp_path)] == [run_file().id]


def test_the_tail_of_a_log_shows_progress_bars_once(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert log_tail(log) == "(no log)"
    log.write_text("")
    assert log_tail(log) == "(the log is empty)"
    log.write_text("start\n\n10%\r50%\r100%\nend\n")
    assert log_tail(log) == "start\n100%\nend"
    assert log_tail(log, lines=1) == "end"


def test_a_configuration_that_nobody_waits_for_any_more_leaves_no_process(root: Path, monkeypatch) -> None:
    monkeypatch.setenv("TEST_MARKER", f"resolving {root}")

    async def give_up() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(resolve_config, root)
            while not marked("TEST_MARKER", f"resolving {root}"):
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()

    anyio.run(give_up)
    assert marked("TEST_MARKER", f"resolving {root}") == []
