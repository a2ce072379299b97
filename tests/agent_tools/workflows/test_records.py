"""Records as tools: what they say, what people enter, and what is exported."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent_tools.catalog import find
from agent_tools.cli import build_app
from agent_tools.records.compared import Bisection, BisectionStep, History, HistoryPoint, Simulation, SimulationRow
from agent_tools.records.foreign_reports import ReportError
from agent_tools.records.schema import Imported, Override, RecordKind, Reported, Series
from agent_tools.records.store import RecordError, RecordNotFound, RecordStore
from agent_tools.workflows import records_export
from agent_tools.workflows.records import record_list, record_show
from agent_tools.workflows.records_entry import EntryError, record_import, record_override, record_report
from agent_tools.workflows.records_export import COLUMNS, ExportError, record_export
from agent_tools.workspace.root import Root, RootError
from tests.agent_tools.records.build import (
    START,
    comparison,
    measurement,
    outcome,
    paired_protocol,
    record,
    run_file,
    side,
    target,
)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.at(tmp_path)


def kept(root: Root, session: str | None = None, **parts: Any) -> str:
    return RecordStore(root.path).write(record(**parts), session).stem


# --- what records say ----------------------------------------------------------------------------------------------

GOOD, BAD = "a" * 40, "b" * 40

PARTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "comparison": (
        {"comparison": comparison()},
        "faster: warm_seconds 2.000x [1.900, 2.100], accuracy: equal; keep",
        "B: preset=fast | bbbbbbbbbbbb+ | preset=fast",
    ),
    "bisection": (
        {
            "bisection": Bisection(
                good=GOOD,
                bad=BAD,
                commits=3,
                culprit=BAD,
                culprit_title="slow it down",
                steps=[BisectionStep(commit=BAD, title="slow it down", verdict="bad", ratio=0.8, low=0.7, high=0.9)],
                suspects=[BAD],
            )
        },
        "first bad commit bbbbbbbbbbbb slow it down, not confirmed",
        "bbbbbbbbbbbb | bad | 0.800 [0.700, 0.900] |  | slow it down",
    ),
    "history": (
        {
            "history": History(
                name="three",
                target=target(),
                arms=[side("A", "one")],
                protocol=paired_protocol(6),
                samples=[measurement("A", 0, 3.0)],
                points=[
                    HistoryPoint(
                        commit=GOOD,
                        title="one",
                        committed=START,
                        value=3.0,
                        low=2.9,
                        high=3.1,
                        accuracy={},
                    ),
                    HistoryPoint(
                        commit=BAD,
                        title="two",
                        committed=START,
                        value=4.0,
                        low=3.9,
                        high=4.1,
                        accuracy={},
                        ratio=0.75,
                        ratio_low=0.7,
                        ratio_high=0.8,
                        change="slower",
                    ),
                    HistoryPoint(
                        commit="c" * 40,
                        title="three",
                        committed=START,
                        value=0,
                        low=0,
                        high=0,
                        accuracy={},
                        failed="no such key",
                    ),
                ],
            )
        },
        "3 commits by warm_seconds: slower at bbbbbbbbbbbb",
        "cccccccccccc | 2026-11-21 | failed: no such key | | | | | three",
    ),
    "simulation": (
        {
            "simulation": Simulation(
                seed=1,
                alpha=0.05,
                rows=[
                    SimulationRow(
                        scenario="drift",
                        description="",
                        rounds=10,
                        experiments=1000,
                        false_positives=40,
                        false_positive_rate=0.04,
                        false_positive_low=0.03,
                        false_positive_high=0.054,
                        detected=970,
                        power=0.97,
                        power_low=0.957,
                        power_high=0.98,
                        stated_effect=0.05,
                    )
                ],
            )
        },
        "1 scenarios: false positives 0.040 at most, power 0.970 at least",
        "drift | 10 | 1000 | 0.0400 [0.0300, 0.0540] | 0.9700 [0.9570, 0.9800] | 5.0%",
    ),
    "imported": (
        {
            "imported": Imported(
                tool="pytest-benchmark",
                version="5.1",
                source="a.json",
                source_sha256="0" * 64,
                series=[Series(name="sum", seconds=[1.0, 2.0], calls=10, figures={"mean": 1.5})],
            )
        },
        "1 series of pytest-benchmark 5.1: a.json",
        "sum | 2 | 10 | 3 | 1.5",
    ),
    "override": (
        {"override": Override(record="R", recommended="keep", decided="revert", by="Ann", reason="too complex")},
        "revert instead of keep for R, by Ann: too complex",
        "",
    ),
    "reported": (
        {"reported": Reported(metric="epoch", value=62.0, unit="s", source="a page", note="with AMP")},
        "epoch 62 s (reported, not measured here: a page)",
        "note: with AMP",
    ),
}


@pytest.mark.parametrize("kind", PARTS)
def test_every_kind_says_what_it_found_in_a_line_and_in_a_table(root: Root, kind: str):
    parts, said, line = PARTS[kind]
    record_id = kept(root, kind=kind, **parts)
    report = record_show(root, record_id)
    assert report.headline == said
    assert not line or line in report.table
    assert record_list(root, kind=kind).records[0]["headline"] == said


def test_a_comparison_without_metrics_or_a_bisection_without_a_culprit_still_says_something(root: Root):
    empty = outcome(metrics=[], accuracy=[], verdict="invalid", reason="every sample is tainted")
    ids = [
        kept(root, kind="comparison", comparison=comparison(outcome=empty)),
        kept(
            root,
            kind="bisection",
            bisection=Bisection(
                good=GOOD,
                bad=BAD,
                commits=2,
                steps=[],
                culprit="",
                culprit_title="",
                suspects=[GOOD, BAD],
            ),
        ),
        kept(root, kind="simulation", simulation=Simulation(seed=0, alpha=0.05, rows=[])),
    ]
    said = [record_show(root, one).headline for one in ids]
    assert said == ["invalid: every sample is tainted", "no single culprit: one of 2 commits", "no scenarios"]


def test_lists_can_be_asked_for_every_kind_that_a_record_can_have(root: Root):
    for kind in ("", *get_args(RecordKind)):
        assert find("record_list").check({"kind": kind})["kind"] == kind
        assert record_list(root, kind=kind).total == 0


# --- reported ------------------------------------------------------------------------------------------------------


def test_a_figure_from_a_document_becomes_a_record_without_machine_or_tree(root: Root):
    entered = record_report(
        root, metric="epoch", value=158.9, unit="s", source="the wiki", date="2025-03", session="2026-11-21_history"
    )
    assert entered.path == f"logs/2026-11-21_history/records/{entered.record_id}.json"
    assert entered.headline == "epoch 158.9 s (reported, not measured here: the wiki)"
    assert "docs render" in entered.note
    found = RecordStore(root.path).load(entered.record_id)
    assert found.reported == Reported(metric="epoch", value=158.9, unit="s", source="the wiki", date="2025-03")
    assert (found.machine, found.git, found.dataset, found.environment) == (None, None, None, {})
    again = ["--metric", "epoch", "--unit", "s", "--source", "the wiki", "--value", "158.9", "--date", "2025-03"]
    assert found.command == ["agent-tools", "record", "report", *again]


def test_no_private_text_of_a_reported_figure_is_kept(root: Root):
    given = {"metric": "epoch", "unit": "s", "source": f"{root.path}/notes.md", "note": "see /home/ann/x.md"}
    entered = record_report(root, value=1.0, **given)
    text = (root.path / entered.path).read_text()
    assert (str(root.path) in text, "/home" in text) == (False, False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metric": " "}, "metric is ' '"),
        ({"source": ""}, "source is ''"),
        ({"unit": "s\n"}, "unit is"),
        ({"note": "a\x1b[31m"}, "note is"),
        ({"value": float("nan")}, "no finite number"),
        ({"date": "last spring"}, "YYYY-MM-DD"),
        ({"date": "2026-13"}, "YYYY-MM-DD"),
    ],
)
def test_a_figure_that_says_too_little_is_refused_and_leaves_nothing(root: Root, changes: dict[str, Any], why: str):
    with pytest.raises(EntryError, match=why):
        record_report(root, **({"metric": "epoch", "value": 1.0, "unit": "s", "source": "a page"} | changes))
    with pytest.raises(RecordError, match="not a session name"):
        record_report(root, metric="epoch", value=1.0, unit="s", source="a page", session="../x")
    assert list(root.path.iterdir()) == []


def test_the_command_line_enters_a_figure(root: Root):
    words = ["record", "report", "--metric", "epoch", "--value", "62", "--unit", "s", "--source", "a page", "--json"]
    result = CliRunner().invoke(build_app(), ["--root", str(root.path), *words])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert RecordStore(root.path).load(answer["record_id"]).reported is not None


# --- override ------------------------------------------------------------------------------------------------------


def test_a_decision_against_a_recommendation_stands_beside_the_comparison_and_leaves_it_alone(root: Root):
    about = kept(root, "gate", kind="comparison", comparison=comparison())
    path = RecordStore(root.path).find(about)
    before = path.read_bytes()
    entered = record_override(root, about, decided="revert", by="Ann", reason="too complex")
    assert entered.path == f"logs/2026-11-21_gate/records/{entered.record_id}.json"
    said = RecordStore(root.path).load(entered.record_id).override
    assert said == Override(record=about, recommended="keep", decided="revert", by="Ann", reason="too complex")
    assert path.read_bytes() == before
    other = record_override(root, about, decided="iterate", by="Bo", reason="more rounds", session="2026-11-22_x")
    assert other.path.startswith("logs/2026-11-22_x/")


def test_only_a_comparison_can_be_overridden_and_only_by_somebody_with_a_reason(root: Root):
    about = kept(root, kind="comparison", comparison=comparison())
    other = kept(root, kind="evaluate", run=run_file())
    with pytest.raises(EntryError, match="of kind evaluate; only a comparison recommends"):
        record_override(root, other, decided="keep", by="Ann", reason="x")
    with pytest.raises(EntryError, match="recommends keep already"):
        record_override(root, about, decided="keep", by="Ann", reason="x")
    with pytest.raises(EntryError, match="by is"):
        record_override(root, about, decided="revert", by="", reason="x")
    with pytest.raises(EntryError, match="reason is"):
        record_override(root, about, decided="revert", by="Ann", reason="\t")
    with pytest.raises(RecordNotFound):
        record_override(root, "nope", decided="revert", by="Ann", reason="x")
    assert record_list(root).total == 2


# --- import --------------------------------------------------------------------------------------------------------

PROFILE = "FIT Profiler Report\n\n|  Action\t|  Mean duration (s)\t|  Total time (s)\t|\n|  step\t|  0.5\t|  1.5\t|\n"


def test_an_imported_report_is_a_record_that_claims_no_machine(root: Root):
    (root.path / "profile.txt").write_text(PROFILE)
    entered = record_import(root, "profile.txt", session="s")
    found = RecordStore(root.path).load(entered.record_id)
    assert (found.kind, found.machine, found.git) == ("imported", None, None)
    assert entered.headline == "1 series of lightning-profiler: profile.txt"
    assert record_show(root, found.id).table[1] == "FIT step | 1 | not stated | 1.5 | 0.5"


def test_a_report_outside_of_the_allowed_folders_is_refused(root: Root, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("reports")
    (folder / "profile.txt").write_text(PROFILE)
    with pytest.raises(RootError, match="outside"):
        record_import(root, str(folder / "profile.txt"))
    assert record_import(Root.at(root.path, (folder,)), str(folder / "profile.txt")).record_id


def test_an_unknown_report_leaves_nothing(root: Root):
    (root.path / "a.txt").write_text("hello")
    with pytest.raises(ReportError, match="no report that is known here"):
        record_import(root, "a.txt")
    assert record_list(root).total == 0


# --- export --------------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_raw_sample_is_a_row_from_which_the_table_can_be_computed_again(root: Root):
    about = kept(root, kind="comparison", comparison=comparison())
    kept(root, kind="evaluate", run=run_file(), started=START + timedelta(hours=1))
    exported = record_export(root, output="out/all.csv")
    found = rows(root.path / "out" / "all.csv")
    assert (exported.rows, exported.records) == (len(found), 2)
    assert found[0]["record"] == about
    counted = [row for row in found if row["metric"] == "warm_seconds" and not row["tainted"]]
    sides = {arm: sum(float(row["value"]) for row in counted if row["arm"] == arm) for arm in "AB"}
    assert sides["A"] / sides["B"] == 2.0
    assert {row["kind"] for row in rows(root.path / record_export(root, output="b.csv", kind="evaluate").path)} == {
        "evaluate"
    }


def test_an_export_replaces_an_export_and_nothing_else(root: Root):
    kept(root, kind="evaluate", run=run_file())
    assert record_export(root, output="a.csv").rows == record_export(root, output="a.csv").rows
    (root.path / "mine.csv").write_text("my,own\n1,2\n")
    (root.path / "folder.csv").mkdir()
    for output in ("mine.csv", "folder.csv"):
        with pytest.raises(ExportError, match="is no export of records"):
            record_export(root, output=output)
    assert (root.path / "mine.csv").read_text() == "my,own\n1,2\n"
    for output in ("a.json", "pyproject.toml", "logs"):
        with pytest.raises(ExportError, match=r"does not end in \.csv"):
            record_export(root, output=output)
    with pytest.raises(RootError):
        record_export(root, output="../a.csv")


def test_a_file_that_is_no_record_is_named_and_the_rest_exported(root: Root):
    record_id = kept(root, kind="evaluate", run=run_file())
    (root.path / "outputs" / "records" / "broken.json").write_text("{")
    exported = record_export(root, output="a.csv")
    assert "broken.json" in exported.unreadable[0]
    assert {row["record"] for row in rows(root.path / "a.csv")} == {record_id}


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), value=st.floats(allow_nan=False))
def test_no_text_becomes_a_formula_and_every_number_stays_one(text: str, value: float):
    reported = Reported(metric=text, value=value, unit="", source="")
    one = record(kind="reported", reported=reported)
    (row,) = csv.DictReader(io.StringIO(records_export._csv([COLUMNS, *records_export._rows(one)]), newline=""))
    assert not row["metric"].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert row["metric"] in (text, f"'{text}")
    assert float(row["value"]) == value
