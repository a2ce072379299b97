"""From records to pages: the same files in, the same bytes out, and never over somebody's words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_tools.handbook import blocks, findings, render
from agent_tools.handbook.blocks import DocumentError, parse_document
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.pages import STATE_PATH
from agent_tools.handbook.plots.ladder import draw_ladder
from agent_tools.measure.profile import stage_table
from agent_tools.records.schema import RunRecord
from agent_tools.records.store import RecordError
from tests.agent_tools.handbook import factory

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return factory.project(tmp_path)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def page(root: Path) -> str:
    return (root / STATE_PATH).read_text()


def findings_of(folder: Path, record_id: str = "3fa9c1") -> Path:
    (path,) = folder.glob(f"*{record_id}-findings.md")
    return path


def render_ladder(tmp_path: Path, **changes) -> str:
    """Findings of one ladder record, alone in a session."""
    folder = tmp_path / "logs/2026-11-21_x"
    factory.store(folder / "records", factory.ladder(**changes))
    render.render_session(tmp_path, folder)
    assert check_documents(tmp_path, ["logs"]) == []
    return findings_of(folder).read_text()


# --- determinism -------------------------------------------------------------------------------------------------


def test_rendering_twice_and_in_another_place_gives_the_same_bytes(session, tmp_path):
    render.render_all(tmp_path)
    first = contents(tmp_path)
    render.render_all(tmp_path)
    assert contents(tmp_path) == first
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere/deep"
    factory.project(elsewhere)
    render.render_all(elsewhere)
    assert contents(elsewhere) == first


def test_an_up_to_date_file_is_not_touched(session, tmp_path):
    paths = render.render_all(tmp_path)
    before = [path.stat().st_mtime_ns for path in paths]
    assert render.render_all(tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_plot_drawn_anew_has_the_same_bytes_and_no_date():
    svg = draw_ladder(factory.ladder())
    assert draw_ladder(factory.ladder()) == svg
    assert not re.search(r"20\d\d-\d\d-\d\d|dc:date|\.local|/home", svg)
    assert draw_ladder(factory.ladder(hmean=0.3)) != svg


def test_rendering_starts_without_torch_and_without_matplotlib():
    code = (
        "import sys, agent_tools.handbook.check, agent_tools.handbook.render;"
        "heavy = {'torch', 'mcp', 'ocr', 'matplotlib', 'agent_tools.measure', 'agent_tools.workspace'};"
        "bad = heavy & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


# --- findings ----------------------------------------------------------------------------------------------------


def test_findings_of_a_ladder_have_every_section_in_order(session, tmp_path):
    render.render_session(tmp_path, session)
    text = findings_of(session).read_text()
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert headings == [
        *("# Main ladder - findings", "## Executive summary", "## Implementation", "## Benchmark"),
        *("### Test configuration", "### Comparison", "### Analysis", "## Lessons", "## Next steps"),
    ]
    notes = [block.name for block in parse_document(text, "").blocks if block.kind == "notes"]
    assert notes == ["key-changes", "analysis", "lessons", "next-steps"]
    for words in ("**Attempted:**", "**Before and after:**", "**Recommendation: keep.**", "`configs/base.yaml`"):
        assert words in text
    assert "`preset: naive -> base`" in text
    assert "](main-3fa9c1-ladder.svg)" in text
    assert (session / "main-3fa9c1-ladder.svg").is_file()


def test_every_rung_of_the_record_stands_in_the_table_with_its_interval_and_the_records_id(session, tmp_path):
    render.render_session(tmp_path, session)
    rows = [line for line in findings_of(session).read_text().split("\n") if "cold_seconds" in line]
    record = factory.ladder()
    assert record.benchmark is not None
    assert len(rows) == len(record.benchmark.summaries)
    for row, summary in zip(rows, record.benchmark.summaries, strict=True):
        assert f"| {summary.warm_seconds:.2f} |" in row
        interval = f"({summary.ratio_low:.2f}x to {summary.ratio_high:.2f}x)"
        assert f"{summary.ratio_to_first:.2f}x {interval}" in row
        assert record.id in row


def test_train_evaluate_and_profile_records_get_the_same_shorter_frame(session, tmp_path):
    render.render_session(tmp_path, session)
    for record_id in ("aa11bb", "bb22cc", "77aa88"):
        text = findings_of(session, record_id).read_text()
        for section in ("Executive summary", "Implementation", "Measurement", "Lessons", "Next steps"):
            assert f"\n## {section}\n" in text
    assert "ratio!@0!run/epochs/1/seconds" in findings_of(session, "77aa88").read_text()
    assert not list(session.glob("*010101*")), "a reported figure is no run: it has no findings"


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "keep"),
        ({"rounds": 2}, "iterate"),
        ({"parity": "worse"}, "revert"),
        ({"parity": "worse", "rounds": 2}, "revert"),
        ({"hmean": 0.31}, "iterate"),
        ({"speed": 1 / 4.942, "interval": (0.99, 1.01)}, "revert"),
        ({"speed": 1 / 4.942, "interval": (0.9, 1.1)}, "iterate"),
        ({"speed": 0.1, "interval": (0.9, 1.1)}, "revert"),
    ],
)
def test_the_recommendation_weighs_accuracy_before_time(changes, advice):
    assert findings.recommend(factory.ladder(**changes)).advice == advice


def test_fewer_than_six_rounds_are_labelled_descriptive(tmp_path):
    text = render_ladder(tmp_path, rounds=2)
    assert "> **Descriptive.**" in text
    assert "x; descriptive);" in text
    assert "Recommendation: iterate" in text


def test_an_hmean_below_one_half_is_no_parity_evidence_whatever_the_record_says(tmp_path):
    text = render_ladder(tmp_path, hmean=0.31, parity="equal")
    assert text.count("| no parity evidence |") == len(factory.RUNGS)
    assert "| equal |" not in text
    assert "Recommendation: keep" not in text


def collapsed() -> RunRecord:
    """A ladder that is fast at its end and finds less than half of what it found."""
    record = factory.ladder(hmean=0.88)
    assert record.benchmark is not None
    last = record.benchmark.summaries[-1].model_copy(update={"icdar_hmean": 0.40, "parity": "worse"})
    benchmark = record.benchmark.model_copy(update={"summaries": [*record.benchmark.summaries[:-1], last]})
    return record.model_copy(update={"benchmark": benchmark})


def test_a_collapse_of_the_score_below_one_half_is_worse_and_not_a_lack_of_evidence(tmp_path):
    factory.target(tmp_path)
    folder = tmp_path / "logs/2026-11-21_x"
    factory.store(folder / "records", collapsed())
    render.render_all(tmp_path)
    text = findings_of(folder).read_text()
    assert "Recommendation: revert" in text
    assert "| worse |" in text
    assert "no parity evidence" not in text.lower()
    (row,) = [line for line in page(tmp_path).split("\n") if "| ICDAR hmean |" in line]
    assert "0.400, worse |" in row


def stages_shown(text: str) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `?([\w.: -]+?)`? \| (\d+\.\d{3}) \| ([\d.]+%) \| \[", text, re.MULTILINE)
    return {name: (seconds, share) for name, seconds, share in rows}


def test_the_shares_of_a_profile_are_those_of_the_profiles_own_table(session, tmp_path):
    render.render_session(tmp_path, session)
    text = findings_of(session, "77aa88").read_text()
    expected = {row.stage: (f"{row.seconds:.3f}", f"{100 * row.share:.1f}%") for row in stage_table(factory.profiled())}
    assert stages_shown(text) == expected
    assert list(expected) == ["forward", "wait", "post: boxes", "metric", "untimed", "loader.decode"]
    assert "- **Largest stage:** forward, 3.50 s, 63.6% of the epoch's wall clock" in text
    assert "### Epochs" not in text


def test_what_no_clock_covered_is_never_called_the_largest_stage(tmp_path):
    folder = tmp_path / "logs/2026-11-21_x"
    factory.store(folder / "records", factory.profiled(seconds=50.0, stages={"forward": 2.0, "wait": 1.0}))
    render.render_session(tmp_path, folder)
    text = findings_of(folder, "77aa88").read_text()
    assert "Largest stage:** forward" in text
    assert stages_shown(text)["untimed"] == ("47.000", "94.0%")
    assert check_documents(tmp_path, ["logs"]) == []


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_the_stages_of_a_run_are_shares_of_its_last_epochs_seconds_and_parts_are_not_added(tmp_path, kind):
    folder = tmp_path / "logs/2026-11-21_x"
    run = factory.run_file(kind)
    stages = {"wait": 0.5, "forward": 1.0, "loader.decode": 3.0}
    run = run.model_copy(update={"epochs": [*run.epochs[:-1], run.epochs[-1].model_copy(update={"stages": stages})]})
    factory.store(folder / "records", factory.trained(kind=kind, run=run))
    render.render_session(tmp_path, folder)
    whole = run.epochs[-1].seconds
    shown = stages_shown(findings_of(folder, "aa11bb").read_text())
    assert list(shown) == ["forward", "wait", "untimed", "loader.decode"]
    assert shown["untimed"] == ("0.000" if whole <= 1.5 else f"{whole - 1.5:.3f}", shown["untimed"][1])
    assert shown["forward"][1] == f"{100 / whole:.1f}%"
    assert shown["loader.decode"][1] == f"{300 / whole:.1f}%"
    assert check_documents(tmp_path, ["logs"]) == []


def test_a_training_is_judged_by_its_pass_over_the_best_weights(tmp_path):
    folder = tmp_path / "logs/2026-11-21_x"
    run = factory.run_file("train")
    best = factory.epoch(2, "val", 1.1, 0.655).model_copy(update={"weights": "best"})
    factory.store(folder / "records", factory.trained(run=run.model_copy(update={"epochs": [*run.epochs, best]})))
    render.render_all(tmp_path)
    assert "**Best ICDAR hmean:** 0.655 in epoch 2" in findings_of(folder, "aa11bb").read_text()
    assert "| 0.655 |" in page(tmp_path)


@pytest.mark.parametrize("text", factory.HOSTILE)
def test_text_in_a_record_can_neither_break_the_page_nor_pass_for_a_number(tmp_path, text):
    rendered = render_ladder(tmp_path, title=text, command=[text], environment={text: text})
    headings = re.findall(r"^#+ .*$", rendered, re.MULTILINE)
    assert len(headings) == 9
    assert headings[0].endswith(" - findings")
    assert text != "{{ 7 * 7 }}" or "`{{ 7 * 7 }}`" in rendered


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_title_and_any_stage_name_gives_a_page_that_passes_the_check(tmp_path, text):
    folder = tmp_path / "logs/2026-11-21_any"
    shutil.rmtree(folder, ignore_errors=True)
    profile = factory.profiled(stages={text: 1.0, "model": 2.5}).model_copy(update={"title": text})
    factory.store(folder / "records", profile)
    render.render_session(tmp_path, folder)
    assert check_documents(tmp_path, [folder]) == []


def test_a_long_run_shows_its_ends_and_its_best_epoch_and_says_what_shows_the_rest(tmp_path):
    folder = tmp_path / "logs/2026-11-21_long"
    run = factory.run_file("evaluate", 40)
    best = run.epochs[17].model_copy(update={"metrics": {"icdar_hmean": 0.913, "cleval_hmean": 0.9}})
    run = run.model_copy(update={"epochs": [*run.epochs[:17], best, *run.epochs[18:]]})
    factory.store(folder / "records", factory.trained(kind="evaluate", run=run))
    render.render_session(tmp_path, folder)
    text = findings_of(folder, "aa11bb").read_text()
    assert len(re.findall(r"^\| \d+ \| val", text, re.MULTILINE)) == findings.EPOCH_ROWS + 1
    assert "Best ICDAR hmean:** 0.913 in epoch 17" in text
    assert "record show 20261121T190000Z-train-aa11bb" in text


def test_only_the_asked_records_are_rendered_and_an_unknown_one_is_named(session, tmp_path):
    drafts = render.draft_documents(
        tmp_path,
        records_folder=session / "records",
        output_folder=session,
        record_ids=["20261121T193000Z-profile-77aa88"],
    )
    assert [draft.path.name for draft in drafts] == ["stages-of-a-validation-epoch-77aa88-findings.md"]
    with pytest.raises(DocumentError, match="There is no record 2026-nothing in logs/2026-11-21_main-job/records"):
        render.draft_documents(
            tmp_path, records_folder=session / "records", output_folder=session, record_ids=["2026-nothing"]
        )


# --- nothing is written over ---------------------------------------------------------------------------------------


def test_a_digit_changed_by_hand_stops_the_render_and_no_file_is_written(session, tmp_path):
    render.render_all(tmp_path)
    ladder = findings_of(session)
    ladder.write_text(ladder.read_text().replace("| 14.20 |", "| 14.10 |"))
    # something else that a render would write
    factory.store(session / "records", factory.trained("20261121T210000Z-train-cc33dd"))
    before = contents(tmp_path)
    with pytest.raises(DocumentError, match=r"main-3fa9c1-findings.md: block generated:benchmark was edited by hand"):
        render.render_all(tmp_path)
    assert contents(tmp_path) == before


def test_a_file_that_is_not_ours_is_left_alone(session, tmp_path):
    mine = session / "main-3fa9c1-findings.md"
    mine.write_text("# My own findings\n")
    with pytest.raises(DocumentError, match=r"main-3fa9c1-findings\.md is not owned"):
        render.render_session(tmp_path, session)
    assert contents(session).keys() == {
        "main-3fa9c1-findings.md", *(f"records/{path.name}" for path in (session / "records").iterdir())
    }  # fmt: skip
    assert mine.read_text() == "# My own findings\n"


def test_notes_stay_byte_for_byte_while_the_rest_is_rendered_again(session, tmp_path):
    render.render_all(tmp_path)
    path = findings_of(session)
    words = "\r\nIt helped – 3×.\r\n\ttrailing  \n\n"
    old = parse_document(path.read_text(), "").block("notes", "analysis")
    assert old is not None
    path.write_bytes(path.read_text().replace(old.body, words).encode())
    assert check_documents(tmp_path) == []
    render.render_all(tmp_path)
    new = parse_document(blocks.read_text(path), "").block("notes", "analysis")
    assert new is not None
    assert new.body == words
    assert new.attributes["inputs"].startswith("sha256:")


def test_a_note_written_while_the_page_was_rendered_is_not_written_over(session, tmp_path):
    render.render_all(tmp_path)
    factory.store(session / "records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    drafts = render.draft_all(tmp_path)
    state = tmp_path / STATE_PATH
    state.write_text(state.read_text().replace("*Nothing written yet.*", "Written meanwhile."))
    before = contents(tmp_path)
    with pytest.raises(DocumentError, match=r"99_current_state\.md was changed by somebody else while it was rendered"):
        render.write_drafts(drafts)
    assert contents(tmp_path) == before


def test_a_corrupt_record_is_named_and_stops_the_render(session, tmp_path):
    (session / "records/20261121T220000Z-train-000000.json").write_text('{"id": ')
    with pytest.raises(RecordError, match=r"20261121T220000Z-train-000000\.json is not valid JSON"):
        render.render_all(tmp_path)
    assert not list(session.glob("*.md"))


def test_a_page_that_is_not_utf8_is_named(session, tmp_path):
    (session / "main-3fa9c1-findings.md").write_bytes(b"<!-- OWNED document=findings \xff")
    with pytest.raises(DocumentError, match=r"main-3fa9c1-findings.md is not UTF-8 \(byte 29 is 0xff\)"):
        render.render_session(tmp_path, session)


def test_a_folder_outside_the_repository_is_refused(session, tmp_path):
    with pytest.raises(DocumentError, match="outside the repository"):
        render.draft_documents(tmp_path, records_folder=session / "records", output_folder=tmp_path.parent / "else")


# --- the state page ------------------------------------------------------------------------------------------------


def test_the_state_page_of_an_empty_project_says_so(tmp_path):
    render.render_state(tmp_path)
    text = page(tmp_path)
    assert "never; there is no record yet" in text
    assert "Nothing has been measured here yet." in text
    assert text.count("The plan ledger is empty") == 4
    assert check_documents(tmp_path) == []


def test_a_state_page_rendered_into_a_folder_that_did_not_exist_is_fresh(tmp_path):
    session = tmp_path / "logs/2026-11-21_x"
    factory.store(session / "records", factory.ladder())
    render.render_all(tmp_path)
    assert check_documents(tmp_path) == []


def test_the_state_page_takes_its_date_from_the_newest_record(session, tmp_path):
    render.render_state(tmp_path)
    assert "**Updated:** 2026-11-21 20:23 UTC, the end of the newest record used ([3fa9c1](" in page(tmp_path)


def test_the_state_page_compares_the_newest_ladder_with_the_target(session, tmp_path):
    render.render_state(tmp_path)
    (row,) = [line for line in page(tmp_path).split("\n") if "| speed-up |" in line]
    assert "| 1.00x | 4.94x (4.84x to 5.09x) |" in row
    assert "| 5.00x | -0.06x, not reached |" in row
    factory.store(session / "records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2, speed=1.2))
    render.render_state(tmp_path)
    (row,) = [line for line in page(tmp_path).split("\n") if "| speed-up |" in line]
    assert "| 5.00x | +0.93x, reached |" in row
    assert "abcdef" in row
    assert "3fa9c1" not in row


def speed_up_rows(root: Path) -> list[str]:
    return [line for line in page(root).split("\n") if "| speed-up |" in line]


def test_a_newer_descriptive_ladder_does_not_replace_one_with_a_verdict(session, tmp_path):
    quick = factory.ladder("20261123T200000Z-benchmark-abcdef", days=2, speed=1.2, rounds=2)
    factory.store(session / "records", quick)
    render.render_state(tmp_path)
    (row,) = speed_up_rows(tmp_path)
    assert "3fa9c1" in row
    assert "descriptive" not in row


@pytest.mark.parametrize("changes", [{"rounds": 2}, {"parity": "worse"}, {"hmean": 0.3}])
def test_a_ladder_that_supports_no_verdict_or_lost_accuracy_reaches_no_target(tmp_path, changes):
    factory.target(tmp_path, value=2.0)
    factory.store(tmp_path / "logs/2026-11-21_x/records", factory.ladder(**changes))
    render.render_state(tmp_path)
    (row,) = speed_up_rows(tmp_path)
    assert "met without a verdict" in row
    assert ", reached |" not in row


def test_ladders_on_other_data_or_at_another_size_stand_in_rows_of_their_own(tmp_path):
    other = factory.dataset().model_copy(update={"content_hash": "sha256:" + "cd" * 32})
    factory.store(
        tmp_path / "logs/2026-11-21_x/records",
        factory.ladder(config={"image_size": [640, 640]}),
        factory.ladder("20261123T200000Z-benchmark-aaaaaa", days=2, overrides=["image_size=[320,320]"]),
        factory.ladder("20261124T200000Z-benchmark-bbbbbb", days=3, config={"image_size": [640, 640]}, dataset=other),
    )
    render.render_all(tmp_path)
    titles = [row.split(" | ")[0].lstrip("| ").strip("`") for row in speed_up_rows(tmp_path)]
    assert titles == [
        "main on sroie-val, 320x320",
        "main on sroie-val, 640x640, data abababab",
        "main on sroie-val, 640x640, data cdcdcdcd",
    ]
    assert check_documents(tmp_path) == []


def test_a_smaller_time_reaches_a_target_in_seconds(session, tmp_path):
    factory.target(tmp_path, "warm_seconds", 3.0)
    render.render_state(tmp_path)
    (row,) = [line for line in page(tmp_path).split("\n") if "| warm epoch, s |" in line]
    assert "| 3.00 | -0.13, reached |" in row


def test_machines_are_kept_apart_and_the_newest_stands_first(session, tmp_path):
    other = factory.machine("ffff00001111", "AMD EPYC 9R14")
    factory.store(session / "records", factory.ladder("20261125T000000Z-benchmark-eeeeee", days=4, machine=other))
    render.render_state(tmp_path)
    titles = re.findall(r"^### (.*)$", page(tmp_path), re.MULTILINE)
    assert titles == ["AMD EPYC 9R14", "Intel(R) Xeon(R) 8481C @ 2.70GHz", "Reported figures"]


def test_a_reported_figure_is_marked_and_is_no_baseline(session, tmp_path):
    render.render_all(tmp_path)
    assert "158.9" not in page(tmp_path)
    assert "[the page of the history](02_dev_guide/history.md), each figure marked as reported" in page(tmp_path)
    history = (tmp_path / "docs/ai_handbook/02_dev_guide/history.md").read_text()
    (row,) = [line for line in history.split("\n") if "158.9" in line]
    assert "reported, not measured here" in row


def test_the_state_page_names_the_gates_that_are_missed_and_no_others(session, tmp_path):
    target = factory.compared("benchmarks.cleval")
    target = target.model_copy(update={"command": ["python", "-m", "benchmarks.cleval"]})
    arms = [
        factory.side(name, f"--arm={arm}", overrides=[f"--arm={arm}"])
        for name, arm in (("A", "reference"), ("B", "fast"))
    ]
    slow = factory.comparison(target=target, arms=arms)
    factory.store(session / "records", slow)
    render.render_state(tmp_path)
    assert re.findall(r"^\| (.*?) \| .*`>= 20`", page(tmp_path), re.MULTILINE) == ["CLEval against its reference"]
    assert "targets against pyclipper" not in page(tmp_path)


def test_a_title_is_shown_without_whole_commit_ids_and_the_names_of_options(session, tmp_path):
    title = f"{'0a1b2c3d4e' * 4} against --arm=fast, benchmarks.loader"
    factory.store(session / "records", factory.comparison("20261125T000000Z-comparison-eeeeee", title=title))
    render.render_state(tmp_path)
    assert "0a1b2c3d4 against fast, benchmarks.loader" in page(tmp_path)
    assert title[:12] not in page(tmp_path)


def test_the_ledger_is_sorted_by_what_is_to_be_done(session, tmp_path):
    factory.plan(tmp_path, "buckets", "planned", more="priority: 1\n")
    render.render_state(tmp_path)
    text = page(tmp_path)
    parts = dict(
        zip(
            re.findall(r"^## (.*)$", text, re.MULTILINE),
            re.split(r"^## .*$", text, flags=re.MULTILINE)[1:],
            strict=True,
        )
    )
    assert "**prenormalise** (reverted)" in parts["Completed"]
    assert "expected gain `1.3x`, a guess" in parts["In progress"]
    assert "**orientation**" in parts["Known issues"]
    assert parts["Next session priority"].index("**buckets**") < parts["Next session priority"].index("**dali**")


def test_a_demo_folder_stands_alone(tmp_path):
    demo = tmp_path / "outputs/demo"
    factory.store(demo / "records", factory.ladder(rounds=2, name="demo"))
    paths = render.render_demo(tmp_path, demo)
    assert [path.relative_to(demo).as_posix() for path in paths] == [
        "demo-3fa9c1-findings.md", "demo-3fa9c1-ladder.svg", "99_current_state.md"
    ]  # fmt: skip
    assert "(descriptive)" in paths[2].read_text()
    assert check_documents(tmp_path, ["outputs/demo"]) == []
    assert not (tmp_path / "docs").exists()


def test_another_user_place_language_time_zone_and_hash_seed_give_the_same_bytes(session, tmp_path):
    factory.store(session / "records", factory.comparison(), factory.history(), factory.profiled())
    render.render_all(tmp_path)
    here = {path.relative_to(tmp_path): path.read_bytes() for path in documents_of(tmp_path)}
    for seed, zone, language in (("1", "Pacific/Kiritimati", "tr_TR.UTF-8"), ("2", "America/New_York", "C")):
        copy = tmp_path.parent / f"{tmp_path.name} elsewhere {seed}"
        shutil.copytree(tmp_path, copy)
        for path in documents_of(copy):
            path.unlink()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed, "TZ": zone}
        environment |= {"LANG": language, "LC_ALL": language, "HOME": str(copy), "USER": f"somebody{seed}"}
        code = (
            f"import pathlib; from agent_tools.handbook import render; render.render_all(pathlib.Path({str(copy)!r}))"
        )
        subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", check=True, umask=0o077)
        assert {path.relative_to(copy): path.read_bytes() for path in documents_of(copy)} == here


def documents_of(root: Path) -> list[Path]:
    """Every rendered document and plot; not the plans, which people write."""
    files = [path for path in root.rglob("*") if path.suffix in (".md", ".svg") and "plans" not in path.parts]
    assert {path.suffix for path in files} == {".md", ".svg"}
    return files


def test_a_comparison_made_again_stands_once_on_the_state_page_as_it_came_out_last(session, tmp_path):
    first = factory.comparison("20261125T000000Z-comparison-aaaaaa", "inconclusive", "iterate")
    again = factory.comparison("20261126T000000Z-comparison-bbbbbb", days=1)
    factory.store(session / "records", first, again)
    render.render_state(tmp_path)
    (row,) = re.findall(r"^\| Own warp against albumentations \|.*$", page(tmp_path), re.MULTILINE)
    assert "| faster |" in row
    assert "bbbbbb" in row
