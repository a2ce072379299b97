"""Documents of comparisons, bisections, histories, overrides and imported reports, and what the state page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_tools.handbook import render
from agent_tools.handbook.blocks import DocumentError, parse_document
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.findings import recommend
from agent_tools.handbook.pages import STATE_PATH
from agent_tools.handbook.paired import parity_label
from agent_tools.records.schema import RunRecord
from tests.agent_tools.handbook import factory

SESSION = "logs/2026-11-21_x"
KINDS = {
    "comparison": factory.comparison,
    "bisection": factory.bisection,
    "history": factory.history,
    "override": factory.override,
    "imported": factory.imported,
}


def findings(root: Path, *records: RunRecord) -> str:
    """Findings of the first record, rendered with the others, after a check that found nothing."""
    factory.store(root / SESSION / "records", *records)
    render.render_all(root)
    assert check_documents(root) == []
    (path,) = (root / SESSION).glob(f"*-{records[0].id.rsplit('-', 1)[-1]}-findings.md")
    return path.read_text()


def line_with(text: str, words: str) -> str:
    (line,) = [line for line in text.split("\n") if words in line]
    return line


# --- every kind --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_every_kind_has_the_sections_and_notes_of_findings_and_every_number_its_record(tmp_path, make):
    text = findings(tmp_path, make())
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading not in {"Benchmark", "Measurement"}] == [
        "Executive summary", "Implementation", "Lessons", "Next steps"
    ]  # fmt: skip
    assert len(headings) == 5
    notes = [block.name for block in parse_document(text, "").blocks if block.kind == "notes"]
    assert notes == ["key-changes", "analysis", "lessons", "next-steps"]


def test_two_renderings_of_every_kind_give_the_same_bytes(tmp_path):
    pages = []
    for place in ("here", "there/deep"):
        root = tmp_path / place
        factory.store(root / SESSION / "records", *(make() for make in KINDS.values()), factory.simulation())
        render.render_all(root)
        pages.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    assert pages[0] == pages[1]
    assert len([path for path in pages[0] if path.suffix == ".svg"]) == 2


@pytest.mark.parametrize(
    ("make", "where", "value"),
    [
        (factory.comparison, ("comparison", "outcome", "metrics", 0, "ratio"), 1.3),
        (factory.comparison, ("comparison", "outcome", "order_effect"), 0.02),
        (factory.comparison, ("comparison", "samples", 4, "foreign_cpu"), 3.5),
        (factory.comparison, ("comparison", "protocol", "replacement_rounds"), 2),
        (factory.bisection, ("bisection", "steps", 2, "low"), 0.6),
        (factory.history, ("history", "points", 3, "value"), 9.0),
        (factory.history, ("history", "points", 0, "accuracy", "icdar_hmean"), 0.9),
        (factory.imported, ("imported", "series", 0, "seconds", 1), 0.5),
    ],
)
def test_a_number_edited_in_a_record_is_caught_in_its_findings(tmp_path, make, where, value):
    record = make()
    findings(tmp_path, record)
    path = tmp_path / SESSION / "records" / f"{record.id}.json"
    data = json.loads(path.read_text())
    node = data
    for step in where[:-1]:
        node = node[step]
    node[where[-1]] = value
    path.write_text(json.dumps(data))
    problems = [problem for problem in check_documents(tmp_path) if problem.path.endswith("-findings.md")]
    assert {problem.kind for problem in problems} == {"stale", "orphan"}


@pytest.mark.parametrize("text", factory.HOSTILE)
def test_hostile_words_in_any_section_stay_words(tmp_path, text):
    history = factory.history().history
    assert history is not None
    points = [
        point.model_copy(update={"title": text} | ({"failed": text} if point.failed else {}))
        for point in history.points
    ]
    records = [
        factory.comparison(
            verdict="invalid", title=text, name=text, changes=[text], files=[text],
            arms=[factory.side("A", text), factory.side("B", text)], outcome_changes={"reason": text, "control": text},
        ),
        factory.bisection(culprit_title=text, files=[text], confirmed=text),
        factory.history(name=text, points=points),
        factory.override(by=text, reason=text, about=text),
    ]  # fmt: skip
    findings(tmp_path, *records)
    for page in (tmp_path / SESSION).glob("*-findings.md"):
        written = page.read_text()
        assert len(re.findall(r"^## ", written, re.MULTILINE)) == 5
        assert "<script>" not in re.sub(r"`+.*?`+", "", written)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_words_of_a_metric_or_a_person_give_pages_that_pass_the_check(tmp_path, text):
    outcome = factory.outcome()
    metric = outcome.metrics[1].model_copy(update={"metric": text})
    accuracy = outcome.accuracy[0].model_copy(update={"metric": text})
    changes = {"metrics": [outcome.metrics[0], metric], "accuracy": [accuracy], "reason": text}
    findings(tmp_path, factory.comparison(outcome_changes=changes), factory.override(reason=text, by=text))


@pytest.mark.parametrize("kind", ["benchmark", *KINDS])
def test_a_record_without_the_figures_of_its_kind_is_refused_by_its_id(tmp_path, kind):
    record = factory.trained(f"20261121T220000Z-{kind}-abcdef", run=None).model_copy(update={"kind": kind})
    factory.store(tmp_path / SESSION / "records", record)
    with pytest.raises(DocumentError, match=rf"{record.id} is a {kind} without its figures"):
        render.render_all(tmp_path)


# --- comparisons -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "advice", "banner"),
    [
        ("faster", "keep", ""),
        ("slower", "revert", ""),
        ("equivalent", "revert", ""),
        ("inconclusive", "iterate", ""),
        ("incorrect", "revert", ""),
        ("invalid", "iterate", "> **Invalid.** No verdict follows"),
        ("descriptive", "iterate", "> **Descriptive.** No verdict follows"),
    ],
)
def test_the_findings_say_the_verdict_and_the_recommendation_of_the_record(tmp_path, verdict, advice, banner):
    text = findings(tmp_path, factory.comparison(verdict=verdict, recommendation=advice))
    assert f"- **Verdict: {verdict}.**\n" in text
    assert f"- **Recommendation: {advice}.** {verdict.capitalize()}, as the interval says.\n" in text
    assert banner in text
    assert ("No verdict follows" in text) == bool(banner)


def test_the_summary_of_a_comparison_gives_both_sides_the_ratio_its_interval_and_the_pairs(tmp_path):
    text = findings(tmp_path, factory.comparison())
    line = line_with(text, "**Before and after:**")
    assert "12.31 s with A and 11.02 s with B" in line
    assert "**1.117x** (interval 1.087x to 1.147x, pairs: 7)" in line
    assert "above one, B is faster" in text
    assert "`icdar_hmean` was 0.8420 with A and 0.8416 with B, difference -0.0004" in text
    assert "- `ocr/datasets/warp.py`" in text
    assert "when others use more than 5.0% of the machine's CPU time" in text
    assert "- `another process used 1.4 cores`" in text
    assert "| tainted samples, kept and not used | 1 |" in text


def test_too_few_pairs_for_an_interval_have_an_observed_range(tmp_path):
    text = findings(tmp_path, factory.comparison(verdict="descriptive", outcome_changes={"pairs": 5}))
    assert "(observed range 1.087x to 1.147x, pairs: 5)" in text
    two_looks = factory.comparison("20261121T210000Z-comparison-c0ffef", outcome_changes={"pairs": 6, "alpha": 0.025})
    assert "observed range" in findings(tmp_path, two_looks)
    all_tainted = factory.comparison("20261121T210000Z-comparison-c0fff0", outcome_changes={"pairs": 0})
    assert "(interval 1.087x" in findings(tmp_path, all_tainted)


@pytest.mark.parametrize(("equal", "words"), [(True, "computed the same outputs"), (False, "different outputs**")])
def test_outputs_are_named_where_the_target_hashes_them(tmp_path, equal, words):
    record = factory.comparison(target=factory.compared(gate="outputs"), outcome_changes={"outputs_equal": equal})
    text = findings(tmp_path, record)
    assert words in line_with(text, "- **Outputs:**")
    assert "every sample has to compute the same outputs" in text


def test_a_smallest_effect_that_nobody_can_name_and_endless_intervals_are_no_numbers(tmp_path):
    text = findings(tmp_path, factory.comparison(outcome_changes={"smallest_effect": 0.0, "floor_high": float("inf")}))
    assert "four times out of five | none can be named |" in text
    assert "neighbouring rounds | 0.985x to none |" in text


def test_a_control_is_named_with_its_interval(tmp_path):
    changes = {"control": "20261121T170000Z-comparison-aaaaaa", "control_low": 0.991, "control_high": 1.008}
    text = findings(tmp_path, factory.comparison(outcome_changes=changes))
    assert "`20261121T170000Z-comparison-aaaaaa`, 0.991x to 1.008x |" in text


def test_configurations_name_the_uncommitted_files_and_a_control_says_that_nothing_changed(tmp_path):
    text = findings(tmp_path, factory.comparison(treatment="configurations", changes=["decoder: pil -> turbojpeg"]))
    assert "(uncommitted at the time of measuring)" in text
    assert "- `decoder: pil -> turbojpeg`" in text
    control = factory.comparison("20261121T210000Z-comparison-c0ffef", treatment="none", changes=[])
    assert "none; A was measured against itself." in findings(tmp_path, control)


@pytest.mark.parametrize(
    ("parities", "outputs", "label"),
    [
        (("equal", "within margin"), None, "within margin"),
        (("worse", "equal"), None, "worse"),
        (("not shown", "no parity evidence"), None, "not shown"),
        ((), True, "equal outputs"),
        (("equal",), False, "outputs differ"),
        ((), None, "no parity evidence"),
    ],
)
def test_the_accuracy_of_a_comparison_is_that_of_its_worst_metric(parities, outputs, label):
    row = factory.outcome().accuracy[0]
    accuracy = [row.model_copy(update={"parity": parity}) for parity in parities]
    assert parity_label(factory.outcome(accuracy=accuracy, outputs_equal=outputs)) == label


# --- bisections, histories, overrides ------------------------------------------------------------------------------


def test_a_bisection_that_found_its_commit_recommends_to_revert_it(tmp_path):
    text = findings(tmp_path, factory.bisection())
    assert "**First bad commit:** `777777777777`, `new loss`; measured against" in text
    assert "**Recommendation: revert.**" in text
    assert "- `ocr/models/loss.py`" in text
    assert "| `777777777777` | `new loss` | bad | 0.810x (0.790x to 0.830x) |" in text
    assert "| `666666666666` | `fix: 3 tests` | skipped | - | the command failed |" in text


def test_a_bisection_with_suspects_only_names_them_and_reverts_nothing(tmp_path):
    text = findings(tmp_path, factory.bisection(found=False))
    assert "could not be told apart: `666666666666`, `777777777777`." in text
    assert "**Recommendation: iterate.**" in text
    assert "**Files modified** (by the first bad commit):\nnot known." in text


def test_a_commit_that_failed_stands_in_a_history_without_figures(tmp_path):
    text = findings(tmp_path, factory.history())
    row = line_with(text, "| `333333333333` |")
    assert "| not measured | - | - | - | - |" in row
    assert "- **Not measured:** `333333333333`, `the command failed with exit code 1`." in text
    # the commit after it is compared with the last measured one
    assert "| 0.827x (0.810x to 0.843x) | 0.0310 | slower |" in line_with(text, "| `444444444444` |")
    assert "| - | - | - |" in line_with(text, "| `111111111111` |")


def test_the_commit_after_a_failed_first_one_is_compared_with_nothing(tmp_path):
    history = factory.history().history
    assert history is not None
    text = findings(tmp_path, factory.history(points=history.points[2:]))
    assert "| - | - | slower |" in line_with(text, "| `444444444444` |")
    assert "| 0.996x (0.976x to 1.016x) |" in line_with(text, "| `555555555555` |")


def test_a_history_that_lost_ground_is_not_kept_as_it_is(tmp_path):
    assert "**Recommendation: iterate.** A commit lost speed" in findings(tmp_path, factory.history())
    history = factory.history().history
    assert history is not None
    quiet = [point.model_copy(update={"change": ""}) for point in history.points]
    text = findings(tmp_path, factory.history("20261121T230000Z-history-415702", points=quiet))
    assert "**Recommendation: keep.**" in text
    assert "- **Changes:** none was seen" in text
    alone = factory.history("20261121T230000Z-history-415703", points=history.points[2:4])
    assert "fewer than two commits" in findings(tmp_path, alone).lower()


def test_an_override_says_who_decided_what_against_what_and_why(tmp_path):
    text = findings(tmp_path, factory.override())
    assert "`A. Person` decided about record `20261121T210000Z-comparison-c0ffee`." in text
    assert "**Decided: revert**, against the recommendation to keep." in text
    assert "`the code is 3x as long`" in text


# --- the state page ------------------------------------------------------------------------------------------------


def test_the_state_page_lists_the_newest_comparisons_and_counts_the_overridden_verdicts(tmp_path):
    others = [
        factory.comparison(f"2026112{day}T210000Z-comparison-00000{day}", title=f"Older {'abcdef'[day]}", days=-day)
        for day in range(1, 6)
    ]
    findings(tmp_path, factory.comparison(), factory.override(), *others)
    page = (tmp_path / STATE_PATH).read_text()
    row = line_with(page, "| Own warp against albumentations |")
    assert "| faster | 1.117x (1.087x to 1.147x) | within margin | keep, overridden: revert |" in row
    assert len(re.findall(r"^\| (?:Own|Older)", page, re.MULTILINE)) == 5
    assert "Older f" not in page
    assert "`1` in all" in page
    assert "Unknown machine" not in page


def test_without_comparisons_and_overrides_the_state_page_does_not_speak_of_them(tmp_path):
    findings(tmp_path, factory.ladder())
    page = (tmp_path / STATE_PATH).read_text()
    assert "| comparison |" not in page
    assert "Overridden" not in page


@pytest.mark.parametrize(
    ("gate", "advice", "why"),
    [
        ("pass", "keep", "no commit was seen to lose"),
        ("open", "iterate", "one beyond the margins is not excluded"),
        ("fail", "iterate", "all together lost speed or accuracy"),
    ],
)
def test_a_history_without_change_points_is_kept_only_where_its_newest_commit_passes_the_gate(gate, advice, why):
    history = factory.history().history
    points = [point.model_copy(update={"change": "", "failed": "", "gate": gate}) for point in history.points]
    found = recommend(factory.history(points=points))
    assert (found.advice, why in found.reason) == (advice, True)
