"""Reports of other tools, written by those tools themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_tools.records.foreign_reports import REPORT_BYTES, ReportError, read_report

BENCHMARKS = """
import pytest

@pytest.mark.parametrize("folder", ["/home/ann/receipts", "plain"])
def test_sum(benchmark, folder):
    benchmark.pedantic(sum, args=(range(1000),), rounds=4, iterations=5)
"""

PROFILED = """
import sys, time
from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler

which, folder = sys.argv[1:]
made = {
    "simple": lambda: SimpleProfiler(dirpath=folder, filename="report"),
    "short": lambda: SimpleProfiler(dirpath=folder, filename="report", extended=False),
    "advanced": lambda: AdvancedProfiler(dirpath=folder, filename="report"),
}
profiler = made[which]()

def fall(n):
    return n and fall(n - 1)

for stage in ("fit", "validate"):
    profiler.setup(stage, 0)
    for _ in range(3):
        with profiler.profile("[LightningModule]OCR.step|a"):
            time.sleep(0.01)
            fall(4)
    with profiler.profile("run_epoch"):
        time.sleep(0.02)
    profiler.describe()
"""


@pytest.fixture(scope="module")
def benchmark_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "test_it.py").write_text(BENCHMARKS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--benchmark-json=report.json",
        "test_it.py",
    ]
    # pytest-benchmark switches itself off in a process that looks like a worker of pytest-xdist.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "report.json"


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for which in ("simple", "short", "advanced"):
        folder = tmp_path_factory.mktemp(which)
        subprocess.run([sys.executable, "-c", PROFILED, which, str(folder)], check=True, capture_output=True)
        # One file per stage; a trainer without a stage in the name appends both to one, which is read here.
        text = "".join(path.read_text() for path in sorted(folder.glob("*.txt")))
        found[which] = folder / "both.txt"
        found[which].write_text(text)
    return found


def test_every_raw_sample_of_pytest_benchmark_is_kept(benchmark_report: Path, tmp_path: Path):
    raw = json.loads(benchmark_report.read_text())
    read = read_report(benchmark_report, tmp_path)
    assert (read.imported.tool, read.imported.version) == ("pytest-benchmark", raw["version"])
    assert [series.seconds for series in read.imported.series] == [b["stats"]["data"] for b in raw["benchmarks"]]
    assert [series.calls for series in read.imported.series] == [20, 20]
    assert read.imported.series[0].figures["mean"] == raw["benchmarks"][0]["stats"]["mean"]
    assert read.measured is not None
    assert read.measured.isoformat() == raw["datetime"]


def test_no_path_and_no_host_name_of_a_report_is_kept(benchmark_report: Path, tmp_path: Path):
    raw = json.loads(benchmark_report.read_text())
    raw["machine_info"]["node"] = "annas-laptop"
    report = tmp_path / "private.json"
    report.write_text(json.dumps(raw))
    read = read_report(report, tmp_path)
    text = read.imported.model_dump_json() + str(read.environment)
    assert "/home" not in text
    assert "annas-laptop" not in text
    assert "flags" not in read.environment
    assert [series.name for series in read.imported.series] == [
        "test_it.py::test_sum[receipts]",
        "test_it.py::test_sum[plain]",
    ]


def test_without_raw_samples_the_total_stands_for_them(benchmark_report: Path, tmp_path: Path):
    raw = json.loads(benchmark_report.read_text())
    for entry in raw["benchmarks"]:
        del entry["stats"]["data"]
    report = tmp_path / "short.json"
    report.write_text(json.dumps(raw))
    assert read_report(report, tmp_path).imported.series[1].seconds == [raw["benchmarks"][1]["stats"]["total"]]


def test_the_simple_profilers_table_is_read_with_calls_and_stage(profiles: dict[str, Path], tmp_path: Path):
    read = read_report(profiles["simple"], tmp_path).imported
    series = {one.name: one for one in read.series}
    assert (read.tool, read.version, read.source) == ("lightning-profiler", "", "both.txt")
    assert len(read.source_sha256) == 64
    for stage, calls in (("FIT", 3), ("VALIDATE", 6)):
        step = series[f"{stage} [LightningModule]OCR.step|a"]
        assert step.calls == calls
        assert step.figures["mean"] * step.calls == pytest.approx(step.seconds[0], rel=1e-3)
        assert series[f"{stage} Total"].seconds[0] > step.seconds[0]


def test_the_short_table_says_no_calls(profiles: dict[str, Path], tmp_path: Path):
    series = {one.name: one for one in read_report(profiles["short"], tmp_path).imported.series}
    step = series["FIT [LightningModule]OCR.step|a"]
    assert (step.calls, set(step.figures)) == (0, {"mean"})
    assert step.seconds[0] >= 0.03


def test_the_advanced_profilers_functions_are_read_with_their_action(profiles: dict[str, Path], tmp_path: Path):
    series = {one.name: one for one in read_report(profiles["advanced"], tmp_path).imported.series}
    action = "FIT [LightningModule]OCR.step|a"
    assert series[action].seconds[0] >= 0.03
    assert series[action].figures["function_calls"] > 15
    slept = series[f"{action}: {{built-in method time.sleep}}"]
    assert (slept.calls, slept.seconds[0] >= 0.03) == (3, True)
    # Fifteen calls, three of them not from itself: `15/3` in the table.
    assert series[f"{action}: <string>:13(fall)"].calls == 15


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"hello\n", "no report that is known here"),
        ("a.json", b'{"benchmarks": []}', "no report that is known here"),
        ("a.json", b'{"benchmarks": 3, "machine_info": {}}', "lacks its fields"),
        ("a.json", b'{"benchmarks": [{}], "machine_info": {}, "version": "5", "datetime": "x"}', "lacks its fields"),
        (
            "a.json",
            b'{"benchmarks": [], "machine_info": {}, "version": "5.0", "datetime": "2026-01-02T03:04:05"}',
            "holds no figures",
        ),
        (
            "a.txt",
            b"FIT Profiler Report\n\n|  Action\t|  Mean duration (s)\t|  Total time (s)\t|\n",
            "holds no figures",
        ),
        ("a.bin", bytes(range(256)) * 10, "no report that is known here"),
        ("a.json", b"[" * 100_000, "no report that is known here"),
        ("a.txt", b"", "no report that is known here"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(tmp_path: Path, name: str, content: bytes, why: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReportError, match=f"^{name} .*{why}"):
        read_report(tmp_path / name, tmp_path)


def test_a_missing_a_foldered_or_an_oversized_report_is_refused(tmp_path: Path):
    huge = tmp_path / "huge.json"
    huge.touch()
    with huge.open("r+b") as stream:
        stream.truncate(REPORT_BYTES + 1)
    for path, why in ((tmp_path / "none.json", "cannot be read"), (tmp_path, "cannot be read"), (huge, "64 MiB")):
        with pytest.raises(ReportError, match=why):
            read_report(path, tmp_path)
