"""Comparisons of two sides: real worktrees and processes, a verdict, and nothing compared that is unlike."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import venv
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from agent_tools.measure import experiment
from agent_tools.measure.comparability import NotComparable
from agent_tools.measure.compare import compare, resume
from agent_tools.measure.comparison_plan import CompareError, command_line
from agent_tools.measure.environments import RequirementsError
from agent_tools.measure.experiment import SampleFailed
from agent_tools.measure.experiment_folder import (
    EXPERIMENTS,
    ExperimentError,
    experiment_folder,
    held,
    load_plan,
    read_samples,
)
from agent_tools.measure.interference import Interference, Watch
from agent_tools.measure.sides import parse_side, refuse_other_code
from agent_tools.measure.targets import Place, TargetError
from agent_tools.measure.trainer import TrainerCancelled
from agent_tools.measure.verdict import judge
from agent_tools.measure.worktrees import RevisionError
from agent_tools.records.compared import Side
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordStore
from tests.agent_tools.conftest import run_git
from tests.agent_tools.measure.project import asked, build_project, commit, write_package


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build_project(tmp_path / "project")


@pytest.fixture
def slowed(root: Path) -> Path:
    """The project with a second commit that is 20% slower."""
    write_package(root, seconds=1.2)
    commit(root, "refactor: tidy up")
    return root


def outcome(record: RunRecord):  # type: ignore[no-untyped-def]
    assert record.comparison is not None
    return record.comparison.outcome


def only_experiment(root: Path) -> str:
    [folder] = (root / EXPERIMENTS).iterdir()
    return folder.name


# --- verdicts ----------------------------------------------------------------------------------------------------


def test_a_revision_that_is_20_percent_slower_is_called_slower_with_0_833_in_its_interval(slowed: Path) -> None:
    record = compare(slowed, asked("HEAD~1", "HEAD", rounds=8))
    found = outcome(record)
    assert (found.verdict, found.recommendation) == ("slower", "revert")
    assert found.metrics[0].low <= 1 / 1.2 <= found.metrics[0].high
    assert [row.metric for row in found.metrics] == ["seconds", "items_per_second", "other_seconds"]
    assert found.accuracy[0].parity == "equal"
    comparison = record.comparison
    assert comparison is not None
    assert re.fullmatch(r"commit [0-9a-f]+ refactor: tidy up", comparison.changes[0])
    assert comparison.files == ["M pkg/__init__.py"]
    assert record.git is not None
    assert record.git.commit == run_git(slowed, "rev-parse", "HEAD").strip()
    assert sorted(first for first, _ in comparison.protocol.order) == ["A"] * 4 + ["B"] * 4
    assert [sample.phase for sample in comparison.samples] == ["warmup"] * 2 + ["measured"] * 16
    assert RecordStore(slowed).load(record.id) == record


def test_a_stored_verdict_can_be_computed_again_from_its_samples(slowed: Path) -> None:
    comparison = RecordStore(slowed).load(compare(slowed, asked("HEAD~1", "HEAD")).id).comparison
    assert comparison is not None
    again = judge(comparison.samples, comparison.target, comparison.protocol, look=comparison.outcome.look)
    assert again == comparison.outcome


def test_a_faster_revision_with_equal_accuracy_is_kept_and_one_with_lost_accuracy_is_incorrect(root: Path) -> None:
    write_package(root, seconds=0.7)
    commit(root, "perf: less work")
    write_package(root, seconds=0.5, recall=0.8)
    commit(root, "perf: even less work")
    assert (outcome(compare(root, asked("HEAD~2", "HEAD~1"))).recommendation) == "keep"
    lost = outcome(compare(root, asked("HEAD~2", "HEAD")))
    assert (lost.verdict, lost.recommendation, lost.accuracy[0].parity) == ("incorrect", "revert", "worse")


def test_a_change_that_claims_pure_speed_is_incorrect_at_its_first_other_output(root: Path) -> None:
    write_package(root, seconds=0.5, outputs="other")
    commit(root, "perf: rounding")
    record = compare(root, asked("HEAD~1", "HEAD", gate="outputs"))
    found = outcome(record)
    assert (found.verdict, found.outputs_equal, found.recommendation) == ("incorrect", False, "revert")
    assert record.comparison is not None
    assert len(record.comparison.protocol.order) == 1


def test_without_an_accuracy_figure_or_an_output_hash_nothing_is_kept(root: Path) -> None:
    write_package(root, seconds=0.5, outputs="")
    commit(root, "perf: less work")
    found = outcome(compare(root, asked("HEAD~1", "HEAD", accuracy=[])))
    assert (found.verdict, found.recommendation) == ("faster", "iterate")


def test_a_side_against_itself_is_a_control_and_later_comparisons_name_it(slowed: Path) -> None:
    control = compare(slowed, asked("HEAD", "HEAD"))
    assert control.comparison is not None
    assert (control.comparison.treatment, control.comparison.outcome.verdict) == ("none", "equivalent")
    assert control.comparison.outcome.recommendation == "iterate"
    assert outcome(compare(slowed, asked("HEAD~1", "HEAD"))).control == control.id


def test_two_looks_stop_half_way_once_the_first_one_decides(slowed: Path) -> None:
    record = compare(slowed, asked("HEAD~1", "HEAD", rounds=14, looks=2))
    found = outcome(record)
    assert (found.verdict, found.look, found.pairs, found.alpha) == ("slower", 1, 7, 0.025)
    assert record.comparison is not None
    assert (record.comparison.protocol.rounds, len(record.comparison.protocol.order)) == (14, 7)


def test_a_pilot_chooses_the_rounds_and_its_samples_do_not_count(slowed: Path) -> None:
    record = compare(slowed, asked("HEAD~1", "HEAD", rounds=0, effect=0.05))
    assert record.comparison is not None
    protocol = record.comparison.protocol
    assert (protocol.pilot_rounds, protocol.planned_effect) == (6, 0.05)
    assert protocol.rounds >= 6
    assert outcome(record).pairs == protocol.rounds
    assert sum(sample.phase == "pilot" for sample in record.comparison.samples) == 12
    assert outcome(record).smallest_effect <= 0.05


# --- sides -------------------------------------------------------------------------------------------------------


def test_the_tree_as_it_is_is_measured_with_untracked_files_and_does_not_move_meanwhile(root: Path) -> None:
    (root / "pkg" / "fast.py").write_text("FACTOR = 0.5\n")
    write_package(root, extra="from pkg.fast import FACTOR\nSECONDS *= FACTOR")

    def spoil(done: int, total: int, message: str) -> None:
        write_package(root, seconds=9.0)

    record = compare(root, asked("HEAD", "worktree"), progress=spoil)
    assert outcome(record).metrics[0].ratio == pytest.approx(2, rel=0.02)
    assert record.comparison is not None
    assert [side.dirty for side in record.comparison.arms] == [False, True]
    assert record.comparison.files == ["M pkg/__init__.py", "A pkg/fast.py"]
    assert "uncommitted changes in B" in record.comparison.changes


def test_configuration_sides_run_one_tree_with_their_own_words(root: Path) -> None:
    record = compare(root, asked("defaults", "--factor=0.5"))
    assert outcome(record).metrics[0].ratio == pytest.approx(2, rel=0.02)
    assert record.comparison is not None
    assert record.comparison.treatment == "configurations"
    assert record.comparison.changes == ["only in B: --factor=0.5"]
    assert len({side.tree for side in record.comparison.arms}) == 1


def test_nothing_is_left_behind_but_the_plan_the_samples_and_the_logs(slowed: Path) -> None:
    before = run_git(slowed, "status", "--porcelain")
    compare(slowed, asked("HEAD~1", "HEAD"))
    assert run_git(slowed, "worktree", "list").count("\n") == 1
    assert run_git(slowed, "status", "--porcelain") == before
    folder = experiment_folder(slowed, only_experiment(slowed))
    assert {path.name for path in folder.iterdir()} == {"plan.json", "samples.jsonl", "logs", ".lock"}


def test_a_record_holds_no_absolute_path(slowed: Path, tmp_path: Path) -> None:
    words = ["python", "bench.py", f"--log={slowed}/log.txt", f"--other={tmp_path}/elsewhere"]
    record = compare(slowed, asked("HEAD~1", "HEAD", command=words))
    assert str(tmp_path) not in record.model_dump_json()


def test_a_script_outside_of_the_side_s_tree_would_measure_one_code_twice_and_is_refused(slowed: Path) -> None:
    with pytest.raises(NotComparable, match=r"command: bench.py is named by its absolute path"):
        compare(slowed, asked("HEAD~1", "HEAD", command=["python", str(slowed / "bench.py")]))


def test_hooks_and_filters_of_the_repository_are_not_run(slowed: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hook = slowed / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    (slowed / ".gitattributes").write_text("*.py filter=evil\n")
    for side in ("clean", "smudge"):
        run_git(slowed, "config", f"filter.evil.{side}", f"touch {marker}; cat")
    compare(slowed, asked("HEAD", "worktree"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("HEAD~1", "revision"),
        ("", "revision"),
        (".", "revision"),
        ("preset=naive", "configuration"),
        ("defaults", "configuration"),
        ("--fast", "configuration"),
        ("20261121T200622Z-benchmark-3fa9c1", "record"),
    ],
)
def test_the_text_of_a_side_says_what_it_is(text: str, kind: str) -> None:
    assert parse_side(text).kind == kind


# --- refusals ----------------------------------------------------------------------------------------------------


def test_sides_of_two_kinds_are_refused(root: Path) -> None:
    with pytest.raises(NotComparable, match="treatment: 'HEAD' is a revision and 'a=1' a configuration"):
        compare(root, asked("HEAD", "a=1"))


def test_an_unknown_revision_names_the_nearest(root: Path) -> None:
    run_git(root, "branch", "feature")
    with pytest.raises(RevisionError, match="'featur' is no revision here; the nearest are feature"):
        compare(root, asked("featur", "HEAD"))


@pytest.mark.parametrize("hostile", ["--output=/tmp/x", "HEAD --all", "a\nb", "$(touch x)"])
def test_a_text_that_git_could_take_for_an_option_never_reaches_it_as_a_revision(root: Path, hostile: str) -> None:
    with pytest.raises((RevisionError, NotComparable)):
        compare(root, asked(hostile, "HEAD"))


def test_configurations_that_do_not_differ_are_refused(root: Path) -> None:
    with pytest.raises(NotComparable, match="nothing differs"):
        compare(root, asked("--factor=1 --x=2", "--x=2 --factor=1"))


def test_data_that_changes_between_samples_is_refused_by_name(slowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(done: int, total: int, message: str) -> None:
        if done == 3:
            monkeypatch.setenv("BENCH_DATASET", "data-2")

    with pytest.raises(NotComparable, match=r"dataset.content_hash: data-1 .* against data-2"):
        compare(slowed, asked("HEAD~1", "HEAD"), progress=swap)


def test_a_command_that_names_no_data_is_refused_unless_it_is_said_to_read_none(
    slowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATASET", "")
    with pytest.raises(NotComparable, match=r"dataset: side A names no data.*--data none"):
        compare(slowed, asked("HEAD~1", "HEAD"))
    assert outcome(compare(slowed, asked("HEAD~1", "HEAD", data="none"))).verdict == "slower"
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("one")
    hashed = compare(slowed, asked("HEAD~1", "HEAD", data=str(data)))
    (data / "a.txt").write_text("onf")
    other = compare(slowed, asked("HEAD~1", "HEAD", data=str(data)))
    assert hashed.dataset is not None
    assert other.dataset is not None
    assert hashed.dataset.content_hash != other.dataset.content_hash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": 101}, "rounds is 101"),
        ({"rounds": 10, "looks": 2}, "two looks need at least 14"),
        ({"rounds": 0}, "effect is 0.0"),
        ({"rounds": 0, "effect": 0.01}, "above the equivalence margin of 0.02"),
        ({"rounds": 6, "alpha": 0.9}, "alpha is 0.9"),
        ({"rounds": 6, "looks": 3}, "looks is 3"),
        ({"rounds": 6, "alpha": 0.01}, "the smallest p of so few is 0.0312"),
        ({"rounds": 14, "looks": 2, "alpha": 0.02}, "with 7 pairs at a look"),
    ],
)
def test_a_protocol_that_can_give_no_verdict_is_refused_before_anything_runs(
    root: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(CompareError, match=said):
        compare(root, asked("HEAD", "HEAD", **changes))  # type: ignore[arg-type]
    assert not (root / EXPERIMENTS).exists()


def an_editable_install(folder: Path, elsewhere: Path, how: str) -> str:
    """An interpreter whose site-packages lead to another checkout, as editable installs do; returns its path."""
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    hook = f"import sys; sys.path.insert(0, {str(elsewhere)!r})"
    (site / "editable.pth").write_text(str(elsewhere) if how == "path" else hook)
    return str(folder / "bin" / "python")


@pytest.mark.parametrize(
    ("how", "words"), [("hook", ["benchmarks/bench.py"]), ("path", ["-I", "bench.py"]), ("path", ["-EP", "bench.py"])]
)
def test_an_editable_install_that_would_measure_another_tree_is_refused_by_the_name_of_its_package(
    root: Path, tmp_path: Path, how: str, words: list[str]
) -> None:
    other = build_project(tmp_path / "other")
    python = an_editable_install(tmp_path / "venv", other, how)
    side = Side(name="A", title="HEAD", commit="", tree="", dirty=False, overrides=[], environment="")
    with pytest.raises(NotComparable, match=r"pkg.__file__: side A would import it from other/pkg"):
        refuse_other_code(Place(side, root, python), ["python", *words])


def test_an_editable_install_that_the_side_s_own_path_wins_over_is_no_reason_to_refuse(
    root: Path, tmp_path: Path
) -> None:
    python = an_editable_install(tmp_path / "venv", build_project(tmp_path / "other"), "path")
    side = Side(name="A", title="HEAD", commit="", tree="", dirty=False, overrides=[], environment="")
    refuse_other_code(Place(side, root, python), ["python", "bench.py"])


def test_a_side_that_does_less_work_is_refused(root: Path) -> None:
    with pytest.raises(NotComparable, match="work: 2 images for side B against 4 images; both sides must do the same"):
        compare(root, asked("defaults", "'--work=2 images'"))


def test_a_rate_is_better_the_higher_it_is(slowed: Path) -> None:
    found = outcome(compare(slowed, asked("HEAD~1", "HEAD", metric="items_per_second")))
    assert found.verdict == "slower"
    assert found.metrics[0].ratio == pytest.approx(1 / 1.2)


def test_pins_that_are_not_what_is_installed_are_refused_by_the_name_of_the_package(root: Path) -> None:
    installed = version("pydantic")
    (root / "constraints.txt").write_text(f"Pydantic=={installed}\nnot-installed==1.0\n")
    commit(root, "build: pins")
    assert outcome(compare(root, asked("HEAD", "HEAD"))).verdict == "equivalent"
    (root / "constraints.txt").write_text("pydantic==1.0\n")
    with pytest.raises(RequirementsError, match=rf"side A \(worktree\) pins pydantic==1.0, but {re.escape(installed)}"):
        compare(root, asked("worktree", "worktree"))


def test_file_names_and_subjects_that_are_no_utf_8_stop_nothing(slowed: Path) -> None:
    (Path(os.fsdecode(bytes(slowed) + b"/caf\xe9.txt"))).write_text("x")
    run_git(slowed, "config", "i18n.commitEncoding", "UTF-8")
    (slowed / "message").write_bytes(b"caf\xe9 snapshot")
    run_git(slowed, "add", "--all")
    run_git(slowed, "commit", "-q", "-F", "message")
    record = compare(slowed, asked("HEAD~2", "HEAD"))
    assert record.comparison is not None
    assert "A caf\\xe9.txt" in record.comparison.files
    assert sum("snapshot" in change for change in record.comparison.changes) == 1


def test_a_worktree_of_the_user_s_whose_disk_is_away_is_not_forgotten(slowed: Path, tmp_path: Path) -> None:
    run_git(slowed, "worktree", "add", "-q", str(tmp_path / "away"), "HEAD")
    (tmp_path / "away").rename(tmp_path / "elsewhere")
    compare(slowed, asked("HEAD~1", "HEAD"))
    assert str(tmp_path / "away") in run_git(slowed, "worktree", "list")


def test_what_killed_comparisons_left_behind_is_removed_by_the_next_one(slowed: Path) -> None:
    left = slowed / EXPERIMENTS / "20261121T000000Z-comparison-000000"
    (left / "trees").mkdir(parents=True)
    run_git(slowed, "worktree", "add", "-q", "--detach", str(left / "trees" / "tree-0"), "HEAD")
    (left / "cache").mkdir()
    compare(slowed, asked("HEAD~1", "HEAD"))
    assert run_git(slowed, "worktree", "list").count("\n") == 1
    assert [path.name for path in left.iterdir()] == [".lock"]


def test_words_of_a_side_enter_the_record_without_private_paths(root: Path, tmp_path: Path) -> None:
    record = compare(root, asked("defaults", f"--factor=0.9 --cache={tmp_path}/x"))
    assert str(tmp_path) not in record.model_dump_json()


class Fouled(Watch):
    """Says that every third sample had company."""

    count = 0

    def stop(self) -> Interference:
        type(self).count += 1
        clean = super().stop()
        return replace(clean, tainted="company" if self.count % 3 == 0 else "")


def test_tainted_rounds_are_run_again_at_once_so_that_the_good_ones_follow_the_plan(
    slowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "Watch", Fouled)
    monkeypatch.setattr(experiment, "await_quiet", lambda limit, cancel: None)
    record = compare(slowed, asked("HEAD~1", "HEAD", rounds=12))
    found, comparison = outcome(record), record.comparison
    assert comparison is not None
    # Two rounds of three have one: the replacements run out, and what is left can support nothing.
    assert (found.verdict, found.recommendation) == ("invalid", "iterate")
    assert found.tainted > 6
    bad = {sample.round for sample in comparison.samples if sample.tainted and sample.phase == "measured"}
    good = [names for number, names in enumerate(comparison.protocol.order) if number not in bad]
    plan = load_plan(slowed, record.id)
    assert good == plan.order[: len(good)]
    assert comparison.protocol.replacement_rounds == len(bad)
    assert found.pairs == len(good)


# --- failures, interruptions, resuming -----------------------------------------------------------------------------


def test_a_side_that_fails_is_named_with_the_end_of_its_log(root: Path) -> None:
    write_package(root, extra="raise RuntimeError('broken on purpose')")
    commit(root, "broken")
    with pytest.raises(SampleFailed, match=r"(?s)Side B \(HEAD\) failed in warmup0-B.*broken on purpose") as failure:
        compare(root, asked("HEAD~1", "HEAD"))
    assert failure.value.side == "B"
    assert run_git(root, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('print(\'{"seconds": 0, "recall": 1}\')', "seconds is 0"),
        ("print('no json here')", "printed no JSON object"),
        ('print(\'{"seconds": "fast"}\')', "no number 'seconds'"),
        ('print(\'{"seconds": NaN, "recall": 1}\')', "no number 'seconds'"),
        ("print('[1, 2]')", "printed no JSON object"),
    ],
)
def test_a_command_without_usable_metrics_is_told_what_to_print(root: Path, code: str, said: str) -> None:
    (root / "other.py").write_text(code)
    commit(root, "another benchmark")
    with pytest.raises(SampleFailed, match=said):
        compare(root, asked("HEAD", "HEAD", command=["python", "other.py"]))


def test_a_missing_command_is_refused(root: Path) -> None:
    with pytest.raises(TargetError, match="needs a command"):
        compare(root, asked("HEAD", "HEAD", command=[]))


def test_a_failure_in_the_middle_keeps_the_samples_and_the_comparison_goes_on_from_them(
    slowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire = tmp_path / "fire"
    monkeypatch.setenv("BENCH_FAIL", str(fire))

    def ignite(done: int, total: int, message: str) -> None:
        if done == 7:
            fire.touch()

    with pytest.raises(SampleFailed, match=r"The samples before it \(7\) are kept; go on with --resume"):
        compare(slowed, asked("HEAD~1", "HEAD"), progress=ignite)
    fire.unlink()
    name = only_experiment(slowed)
    before = read_samples(experiment_folder(slowed, name))
    assert len(before) == 7
    record = resume(slowed, name)
    assert record.comparison is not None
    assert record.comparison.samples[:7] == before
    assert (outcome(record).verdict, outcome(record).pairs) == ("slower", 6)
    assert record.comparison.protocol.resumed == 1
    # The round that was cut in two is run again as a whole: its sides would lie too far apart in time.
    assert record.comparison.protocol.replacement_rounds == 1


def test_a_cancelled_comparison_goes_on_and_a_complete_one_does_not(slowed: Path) -> None:
    cancel = threading.Event()

    def after_five(done: int, total: int, message: str) -> None:
        if done == 5:
            cancel.set()

    with pytest.raises(TrainerCancelled, match="--resume"):
        compare(slowed, asked("HEAD~1", "HEAD"), progress=after_five, cancel=cancel)
    name = only_experiment(slowed)
    assert outcome(resume(slowed, name)).verdict == "slower"
    with pytest.raises(CompareError, match=f"Comparison {name} is complete"):
        resume(slowed, name)


def test_an_interrupted_comparison_goes_on_only_on_the_machine_it_began_on(slowed: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TrainerCancelled):
        compare(slowed, asked("HEAD~1", "HEAD"), cancel=cancel)
    plan_file = experiment_folder(slowed, only_experiment(slowed)) / "plan.json"
    plan = json.loads(plan_file.read_text())
    plan["machine"] |= {"cpu_model": "Abacus 9000", "key": "0" * 12}
    plan_file.write_text(json.dumps(plan))
    with pytest.raises(NotComparable, match=r"machine.cpu_model: 'Abacus 9000' against"):
        resume(slowed, plan["id"])


def test_many_interruptions_do_not_use_up_the_rounds_that_taint_may_cost(slowed: Path) -> None:
    cancel = threading.Event()

    def after_one(done: int, total: int, message: str) -> None:
        cancel.set()

    with pytest.raises(TrainerCancelled):
        compare(slowed, asked("HEAD~1", "HEAD"), progress=after_one, cancel=cancel)
    name = only_experiment(slowed)
    for _ in range(8):
        cancel = threading.Event()
        taken = iter(range(9))

        def in_a_round(done: int, total: int, message: str, taken=taken, cancel=cancel) -> None:  # type: ignore[no-untyped-def]
            if next(taken) == 2:
                cancel.set()

        with pytest.raises(TrainerCancelled):
            resume(slowed, name, progress=in_a_round, cancel=cancel)
    record = resume(slowed, name)
    assert (outcome(record).verdict, outcome(record).pairs) == ("slower", 6)


def test_an_interrupted_comparison_does_not_go_on_with_other_data_or_other_settings(
    slowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.txt").write_text("one")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TrainerCancelled):
        compare(slowed, asked("HEAD~1", "HEAD", data=str(tmp_path / "data.txt")), cancel=cancel)
    name = only_experiment(slowed)
    (tmp_path / "data.txt").write_text("onf")
    with pytest.raises(NotComparable, match=r"dataset.content_hash: "):
        resume(slowed, name)
    (tmp_path / "data.txt").write_text("one")
    with monkeypatch.context() as changed:
        changed.setenv("MKL_NUM_THREADS", "7")
        with pytest.raises(NotComparable, match=r"environment.MKL_NUM_THREADS: 'unset' against '7'"):
            resume(slowed, name)
    assert outcome(resume(slowed, name)).verdict == "slower"


def test_the_recorded_command_asks_for_the_same_again() -> None:
    request = asked("HEAD~1", "HEAD", command=["python", "bench.py", "--text=a b"], accuracy=["recall", "hmean"])
    words = command_line("compare", request)
    assert shlex.split(words[words.index("--command") + 1]) == ["python", "bench.py", "--text=a b"]
    assert words[words.index("--accuracy") + 1] == "recall,hmean"


def test_a_comparison_that_does_not_exist_names_the_newest(slowed: Path) -> None:
    with pytest.raises(ExperimentError, match="no experiment 'nothing' to go on with; there is none yet"):
        resume(slowed, "nothing")


def test_a_comparison_that_runs_is_not_gone_on_with_by_a_second_process(root: Path) -> None:
    with held(root, "one"), pytest.raises(ExperimentError, match="is running"), held(root, "one"):
        raise AssertionError("held twice")


CLI = [sys.executable, "-m", "agent_tools.cli"]


def started(root: Path, *words: str) -> subprocess.Popen[str]:
    command = [*CLI, "--root", str(root), "bench", "compare", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def until(condition, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_after_kill_9_the_finished_samples_are_there_nothing_runs_on_and_the_command_resumes(slowed: Path) -> None:
    options = ["--command", "python bench.py", "--accuracy", "recall", "--rounds", "20", "--foreign-limit", "1"]
    process = started(slowed, "HEAD~1", "HEAD", *options)

    def samples() -> int:
        return sum(len(read_samples(folder)) for folder in (slowed / EXPERIMENTS).glob("*"))

    until(lambda: samples() >= 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = samples()
    name = only_experiment(slowed)
    until(lambda: not any(str(slowed) in " ".join(_arguments(one)) for one in psutil.process_iter()))
    done = subprocess.run(
        [*CLI, "--root", str(slowed), "bench", "compare", "--resume", name, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    record = RecordStore(slowed).load(result["record_id"])
    assert record.id == name
    assert record.comparison is not None
    assert len(record.comparison.samples) >= kept
    assert outcome(record).verdict == "slower"


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.pid != os.getpid() else []
    except psutil.Error:
        return []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_on_a_full_disk_the_finished_samples_are_kept_and_the_comparison_goes_on_once_there_is_room(
    slowed: Path, tmp_path: Path
) -> None:
    disk = slowed / "outputs"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        filler = disk / "filler"

        def fill(done: int, total: int, message: str) -> None:
            if done == 6:
                with filler.open("wb", buffering=0) as stream:
                    while True:
                        try:
                            stream.write(b"x" * 512)
                        except OSError:
                            return

        with pytest.raises((ExperimentError, SampleFailed), match="kept"):
            compare(slowed, asked("HEAD~1", "HEAD"), progress=fill)
        name = only_experiment(slowed)
        assert len(read_samples(experiment_folder(slowed, name))) == 6
        filler.unlink()
        record = resume(slowed, name)
        assert outcome(record).verdict == "slower"
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
