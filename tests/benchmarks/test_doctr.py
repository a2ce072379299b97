"""The comparison with docTR, as far as it goes without docTR: our side runs, the rest is skipped with a reason."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import doctr
from benchmarks.doctr_task import read_task
from benchmarks.harness import BenchmarkError

SMALL = ["--images=1", "--size=64", "--rounds=1", "--passes=1"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "give --python PATH of an environment with docTR, or --setup DIR to make one"),
        (["--python=/nowhere/python"], "/nowhere/python is no interpreter"),
    ],
)
def test_without_docTR_one_line_says_why_it_was_skipped(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doctr.main([*SMALL, *options])
    line = json.loads(capsys.readouterr().out)
    assert reason in line["skipped"]
    assert "ratios" not in line


def test_an_interpreter_without_docTR_is_a_skip_and_not_a_failure(
    synthetic_receipts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctr, "ARMS", {"doctr_as_shipped": doctr.ARMS["doctr_as_shipped"]})
    doctr.main([*SMALL, f"--python={sys.executable}", f"--data={synthetic_receipts}"])
    assert "No module named 'doctr'" in json.loads(capsys.readouterr().out)["skipped"]


def test_our_side_validates_and_trains_on_the_task(synthetic_receipts: Path, tmp_path: Path) -> None:
    task, dataset = doctr.make_task(synthetic_receipts, 1, 64)
    file = tmp_path / "task.npz"
    task.save(file)
    again = read_task(file)
    np.testing.assert_array_equal(again.images, task.images)
    assert [found.tolist() for found in again.quads] == [found.tolist() for found in task.quads]
    rates = doctr.run_arm(doctr.ARMS["ours"], Path(sys.executable), file, passes=1)
    assert rates["validation"] > 0
    assert rates["training"] > 0
    assert dataset.startswith("sha256:")


def test_a_process_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"benchmarks\.doctr_ours failed in .*No such file"):
        doctr.run_arm(doctr.ARMS["ours"], Path(sys.executable), tmp_path / "absent.npz", passes=1)


def test_every_round_runs_every_arm_and_begins_with_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[doctr.Arm] = []
    rates = {"validation": 4.0, "training": 1.0}
    monkeypatch.setattr(doctr, "run_arm", lambda arm, *_: ran.append(arm) or rates)
    rows = doctr.interleaved(tmp_path, tmp_path, rounds=2, passes=1)
    arms = list(doctr.ARMS.values())
    assert ran == [*arms, *arms[1:], arms[0]]
    rows["doctr_bf16"] = [{"validation": 2.0, "training": 4.0}] * 2
    assert doctr.ratios(rows)["doctr_bf16"] == {"validation": [2, 2], "training": [0.25, 0.25]}
    assert "ours_fp32" not in doctr.ratios(rows)


def test_the_task_is_importable_without_this_project() -> None:
    code = "import sys, benchmarks.doctr_task; sys.exit(any(name.split('.')[0] == 'ocr' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=doctr.ROOT, check=False).returncode == 0
