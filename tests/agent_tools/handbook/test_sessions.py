"""Sessions, their notes, and the handover's page: strict files in, the same bytes out, nobody's words lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import ChoiceLoader, DictLoader

from agent_tools.handbook import budgets, render
from agent_tools.handbook.blocks import DocumentError, parse_document
from agent_tools.handbook.check import check_documents
from agent_tools.handbook.drafts import TEMPLATE_VERSIONS
from agent_tools.handbook.handover import read_handover
from agent_tools.handbook.handover_page import SECTION_TOKENS, draft_handover, prompt_documents
from agent_tools.handbook.markdown import environment
from agent_tools.handbook.session_files import HANDOVER_PAGE, SIZE_CAP, SessionError
from agent_tools.handbook.session_notes import (
    LONGEST_TEXT,
    CommandEvidence,
    NoteKind,
    RecordEvidence,
    checked_evidence,
    new_note,
    read_notes,
    write_note,
)
from agent_tools.handbook.sessions import (
    Session,
    begin_session,
    current_session,
    named_session,
    newest_handover,
    open_session,
)
from agent_tools.records.store import RecordError
from tests.agent_tools.handbook import factory, handovers

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NOTHING = ("", "", "")
ATTACKS = (
    *factory.HOSTILE,
    "<!-- END generated:lessons -->",
    "<!-- BEGIN notes:path -->",
    "\u202etxt.exe\u2066 \x00\x1b[2J",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    factory.project(folder)
    render.render_all(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, rendered: Path) -> Path:
    shutil.copytree(rendered, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def folder(root: Path) -> Path:
    """A session that was handed over, with its page."""
    place = handovers.store(root, handovers.handover(root))
    render.render_handover(root, place)
    return place


def page(folder: Path) -> str:
    return (folder / HANDOVER_PAGE).read_text()


def section(text: str, title: str) -> str:
    return re.split(r"\n#+ ", text.split(f"# {title}\n", 1)[1], maxsplit=1)[0].split("<!-- END", 1)[0]


# --- notes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "why", "said"),
    [
        ("claim", "it is fast", "", "--record ID with --figure"),
        ("done", "the cache works", "", '--command "pytest tests/test_x.py"'),
        ("failed", "forked workers", "", "why the approach failed"),
        ("issue", "it hangs", " ", "what its remedy is"),
        ("confidence", "high", "", "what the risk is"),
        ("goal", " \n", "", "in a sentence"),
        ("insight", "x" * (LONGEST_TEXT + 1), "", f"has {LONGEST_TEXT + 1} characters, a note at most {LONGEST_TEXT}"),
        ("read_first", "the rules", "", "name them after the text"),
    ],
)
def test_a_note_that_says_too_little_or_too_much_is_refused_with_the_way_to_say_it(kind, text, why, said):
    with pytest.raises(SessionError, match=re.escape(said)):
        new_note(kind, text, why, (), None, NOW)


@pytest.mark.parametrize(
    ("command", "expects", "record", "file", "said"),
    [
        (("pytest", "x"), "", ("id", "", ""), NOTHING, "not command and record; write two notes"),
        ((), "1 passed", NOTHING, NOTHING, "--expects is part of what --command shows"),
        ((), "", ("", "a/b", ""), NOTHING, "--figure is part of what --record shows"),
        ((), "", ("id", "", "7x"), NOTHING, "with --figure PATH"),
        ((), "", ("id", "a/b", "fast"), NOTHING, "give one number"),
        ((), "", ("id", "a/b", "7x and 8x"), NOTHING, "give one number"),
        ((), "", NOTHING, ("a.py", "", ""), "add --contains TEXT or --lacks TEXT"),
        ((), "", NOTHING, ("a.py", "a\nb", ""), "--contains is not one printable line"),
        (("pytest", "x"), "\u202e", NOTHING, NOTHING, "--expects is not one printable line"),
    ],
)
def test_evidence_is_one_thing_whose_parts_belong_together(command, expects, record, file, said):
    with pytest.raises(SessionError, match=re.escape(said)):
        checked_evidence(command, expects, record, file)


def test_notes_are_read_in_the_order_in_which_they_were_written_and_never_overwritten(tmp_path):
    for number in range(12):
        note = new_note("next", f"step {number}", "", (), None, NOW + timedelta(microseconds=number))
        write_note(tmp_path, note, tmp_path)
    assert [note.text for note in read_notes(tmp_path, tmp_path)] == [f"step {number}" for number in range(12)]
    with pytest.raises(SessionError):
        write_note(tmp_path, note, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "schema_version None"),
        ('{"schema_version": 2}', "schema_version 2, but this workbench reads 1; update the workbench"),
        ('{"schema_version": 1, "extra": 1}', "Restore it"),
        (" " * (SIZE_CAP + 1), "larger than"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_damaged_note_is_named_with_the_way_to_mend_it(tmp_path, content, said):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/x.json").write_text(content)
    with pytest.raises(SessionError, match=f"notes/x.json.*{re.escape(said)}"):
        read_notes(tmp_path, tmp_path)


def test_a_note_that_is_no_plain_file_inside_the_root_is_refused_and_not_read(tmp_path):
    inside = tmp_path / "root"
    (inside / "notes").mkdir(parents=True)
    os.mkfifo(inside / "notes/fifo.json")
    with pytest.raises(SessionError, match="is not a file"):
        read_notes(inside, inside)
    (inside / "notes/fifo.json").unlink()
    (tmp_path / "secret.json").write_text('{"schema_version": 1}')
    (inside / "notes/link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(DocumentError, match="outside the repository"):
        read_notes(inside, inside)


def test_a_session_whose_folder_leads_out_of_the_root_takes_no_note(tmp_path):
    inside = tmp_path / "root"
    (inside / "logs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (inside / "logs/2026-11-25_x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DocumentError, match="outside the repository"):
        begin_session(inside, "x", Session(name="x", started=NOW))
    with pytest.raises(DocumentError, match="outside the repository"):
        write_note(inside / "logs/2026-11-25_x", new_note("goal", "g", "", (), None, NOW), inside)
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- sessions ----------------------------------------------------------------------------------------------------


def test_a_session_is_open_until_it_is_handed_over_and_belongs_to_its_day_after_that(root):
    assert open_session(root) is None
    first = begin_session(root, "second", Session(name="second", started=factory.START + timedelta(days=1)))
    assert first.name == handovers.SESSION
    assert begin_session(root, "second", Session(name="second", started=first.session.started)) == first
    assert open_session(root) == current_session(root, NOW.date()) == first
    handovers.store(root, handovers.handover(root))
    assert open_session(root) is None
    assert current_session(root, NOW.date()) is None
    assert current_session(root, handovers.handover(root).made.date()) is not None
    with pytest.raises(SessionError, match="handed over already; choose another name, such as second-2"):
        begin_session(root, "second", Session(name="second", started=first.session.started))


def test_the_newest_open_session_is_the_current_one_and_others_are_found_by_name(root):
    for day, name in enumerate(("old", "new", "newer")):
        begin_session(root, name, Session(name=name, started=NOW + timedelta(days=day)))
    current = current_session(root, NOW.date())
    assert current is not None
    assert current.name == "2026-11-27_newer"
    for name in ("old", "2026-11-25_old"):
        found = named_session(root, name, NOW.date())
        assert found is not None
        assert found.name == "2026-11-25_old"
    with pytest.raises(SessionError, match="nearest are 2026-11-26_new, 2026-11-27_newer"):
        named_session(root, "2026-11-26_nev", NOW.date())


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", "-x", "x" * 100, ".."])
def test_a_name_that_could_leave_the_logs_opens_no_session(tmp_path, name):
    with pytest.raises(RecordError, match="not a session name"):
        begin_session(tmp_path, name, Session(name=name, started=NOW))
    assert list(tmp_path.iterdir()) == []


def test_the_newest_handover_is_the_one_made_last_and_can_leave_out_a_session(root):
    assert newest_handover(root) is None
    handovers.store(root, handovers.handover(root))
    handovers.store(root, handovers.handover(root, session="2026-11-20_late", made=NOW))
    newest, other = newest_handover(root), newest_handover(root, but="2026-11-20_late")
    assert newest is not None
    assert other is not None
    assert (newest.name, other.name) == ("2026-11-20_late", handovers.SESSION)


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_has_every_section_that_a_handover_must_have(root, folder):
    headings = re.findall(r"^## (.*)$", page(folder), re.MULTILINE)
    assert headings == [
        *("Quick summary", "Performance progress", "Files created and modified", "Recommended cleanup"),
        *("What worked", "What did not work", "Critical insight", "Options", "Recommended path", "Success criteria"),
        *("Common issues", "Rollback plan", "Documents to update", "Confidence and risk", "Continuation prompt"),
    ]
    assert check_documents(root) == []


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Quick summary", "- **Goal:** validate in half the time"),
        (
            "Quick summary",
            "`112 passed, 1 failed` of `the whole suite`, 2026-11-21 20:06 UTC; **commits came after them**",
        ),
        ("Quick summary", "`20261122T200622Z-train-3fa9c1` is running (training)"),
        ("Quick summary", "- **Blocked:** no GPU here"),
        ("Quick summary", "- **Decided:** one file per tier, because: workers share it"),
        ("Commits and uncommitted files", "- `0123456789` 2026-11-22 feat: cached targets"),
        ("Commits and uncommitted files", "- uncommitted: `M ocr/models/head.py`"),
        ("Performance progress", "| 14.20 s | 2.87 s | 4.94x (4.84x to 5.09x) | equal | [3fa9c1]("),
        ("Records since the last handover", "- benchmark [3fa9c1]("),
        ("Files created and modified", "| `ocr/bad.py` | modified | **revert** | plan prenormalise is reverted |"),
        ("Files created and modified", "| `ocr/new.py` | created | keep | nothing speaks against it |"),
        ("Recommended cleanup", "- `git restore --source=fedcba987654 -- ocr/bad.py`"),
        ("What worked", "- targets are cached; shown by `pytest tests/test_x.py`"),
        ("What worked", "shown by `benchmark/summaries/5/ratio_to_first` = 4.94x ([3fa9c1]("),
        ("What worked", "- the key is gone; shown by `configs/base.yaml lacks old_key`"),
        ("What did not work", "- forked workers: pages are copied on write"),
        ("Critical insight", "- the loader is not the limit"),
        ("Options", "- **dali** (planned, priority `2`), [plan](../../docs/ai_handbook/07_planning/plans/dali.md)"),
        ("Options", "Expected gain: `1.3x`, a guess; effort: `2 days`"),
        ("Options", "Cons: a second decoder"),
        ("Recommended path", "1. compile the forward; in `ocr/models/head.py`"),
        ("Success criteria", "| speed | `agent-tools bench ladder main` | `ratio_to_first at least 5` |"),
        ("Success criteria", "| the key is gone | `grep -F -- old_key configs/base.yaml` | finds nothing |"),
        ("Common issues", "- the cache is cold after a checkout. Remedy: ocr cache prepare"),
        ("Rollback plan", "- git revert HEAD"),
        ("Rollback plan", "`git revert --no-edit 76543210fedc..0123456789ab`"),
        ("Documents to update", "CHANGELOG.md says nothing yet"),
        ("Confidence and risk", "- high; risk: the data set is small"),
        (
            "Continuation prompt",
            f"@logs/{handovers.SESSION}/handover.md @AGENTS.md @docs/ai_handbook/99_current_state.md",
        ),
        ("Continuation prompt", "Tried in vain: forked workers (pages are copied on write)"),
    ],
)
def test_what_was_handed_over_stands_in_its_section(folder, title, words):
    assert words in section(page(folder), title)


def test_a_handover_of_nothing_says_so_in_every_section(root):
    empty = handovers.handover(
        root, commit="", branch="", base="", commits=(), uncommitted=(), files=(), records=(), jobs=(), tests=None,
        plans=(), documents=(), cleanup=(), reading=(), notes=(),
    )  # fmt: skip
    folder = handovers.store(root, empty)
    render.render_handover(root, folder)
    for words in (
        "none was written down",
        "no run is known",
        "Nothing was measured",
        "Nothing was claimed",
        "No plan is",
    ):
        assert words in page(folder)
    assert check_documents(root) == []


def test_the_page_has_the_same_bytes_in_another_place_and_at_another_time(root, folder, monkeypatch):
    elsewhere = root.parent / f"{root.name}-elsewhere/deep"
    factory.project(elsewhere)
    other = handovers.store(elsewhere, handovers.handover(elsewhere))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    render.render_handover(elsewhere, other)
    assert (other / HANDOVER_PAGE).read_bytes() == (folder / HANDOVER_PAGE).read_bytes()
    before = (folder / HANDOVER_PAGE).stat().st_mtime_ns
    render.render_all(root)
    assert (folder / HANDOVER_PAGE).stat().st_mtime_ns == before


def test_the_page_depends_on_its_file_and_its_records_and_on_nothing_else(root, folder):
    factory.plan(root, "dali", "dropped")
    (root / "AGENTS.md").write_text("changed")
    factory.store(root / "logs/2026-11-23_x/records", factory.ladder("20261123T200000Z-benchmark-abcdef", days=2))
    assert not [problem for problem in check_documents(root) if HANDOVER_PAGE in problem.path]
    record = root / f"logs/2026-11-21_main-job/records/{handovers.LADDER}.json"
    record.write_text(record.read_text().replace('"warm_seconds": 2.874', '"warm_seconds": 2.5'))
    assert {problem.kind for problem in check_documents(root) if HANDOVER_PAGE in problem.path} == {"stale", "orphan"}
    record.unlink()
    (gone,) = [
        problem for problem in check_documents(root) if HANDOVER_PAGE in problem.path and problem.kind == "broken"
    ]
    assert f"its record {handovers.LADDER}.json is gone" in gone.message


def test_a_number_changed_by_hand_is_found_and_not_overwritten(root, folder):
    path = folder / HANDOVER_PAGE
    path.write_text(page(folder).replace("| 2.87 s |", "| 1.87 s |"))
    assert {problem.kind for problem in check_documents(root)} == {"edited", "orphan"}
    with pytest.raises(DocumentError, match="edited by hand"):
        render.render_handover(root, folder)
    assert "| 1.87 s |" in page(folder)


def test_a_page_that_is_missing_or_not_owned_is_a_problem(root, folder):
    (folder / HANDOVER_PAGE).unlink()
    assert [(problem.kind, problem.path) for problem in check_documents(root)] == [
        ("missing", f"logs/{handovers.SESSION}/handover.json")
    ]
    (folder / HANDOVER_PAGE).write_text("by hand\n")
    assert [problem.kind for problem in check_documents(root)] == ["unowned"]


@pytest.mark.parametrize("path", ["../../../x.json", "/etc/passwd", "../../x/records/a.json", "../../../../dev/zero"])
def test_a_handover_that_names_a_file_elsewhere_as_a_record_reads_none(root, folder, path):
    whole = json.loads((folder / "handover.json").read_text())
    whole["records"][0]["path"] = path
    (folder / "handover.json").write_text(json.dumps(whole))
    with pytest.raises(DocumentError):
        draft_handover(folder, root)
    assert {problem.kind for problem in check_documents(root) if HANDOVER_PAGE in problem.path} == {"broken"}


@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_of_a_note_breaks_out_of_its_place(root, text):
    evidence = CommandEvidence(words=("pytest", text), expects=text)
    hostile = [
        handovers.note(kind, text, text, number, files=(text,), evidence=evidence)
        for number, kind in enumerate(get_args(NoteKind))
    ]
    folder = handovers.store(root, handovers.handover(root, notes=hostile, goal=text))
    render.render_handover(root, folder)
    assert check_documents(root) == []
    assert "\n# heading" not in page(folder)
    assert all(char.isprintable() or char == "\n" for char in page(folder))


@pytest.mark.parametrize("text", ATTACKS)
def test_no_other_text_of_a_handover_breaks_out_of_its_place(root, text):
    plan = handovers.handover(root).plans[0]
    values = {"hypothesis": text, "expected_gain": text, "effort": text, "pros": (text,), "steps": (text,)}
    changes = {
        "branch": text,
        "before": text,
        "commits": (handovers.HandedCommit(id=text, date=text, subject=text),),
        "uncommitted": (text,),
        "files": (handovers.HandedFile(path=text, change="created", verdict="revert", because=text),),
        "jobs": (handovers.HandedJob(id=text, status=text, title=text),),
        "plans": (plan.model_copy(update={"name": text, "path": text, "references": (text,), **values}),),
        "documents": (text,),
        "cleanup": (text,),
        "reading": (text,),
    }
    folder = handovers.store(root, handovers.handover(root, **changes))
    render.render_handover(root, folder)
    assert check_documents(root) == []


def test_a_moment_without_a_time_zone_is_refused(root):
    folder = handovers.store(root, handovers.handover(root))
    whole = (folder / "handover.json").read_text()
    (folder / "handover.json").write_text(re.sub(r'("made": "[^"]*)Z"', r'\1"', whole))
    with pytest.raises(SessionError, match="made: Input should have timezone info"):
        newest_handover(root)


@pytest.mark.parametrize(
    "figure", ["benchmark/nowhere", "benchmark/summaries/5/ratio to first", "ratio!@0!id", "id", ")"]
)
def test_a_claim_whose_record_does_not_hold_the_figure_is_shown_without_a_number(root, figure):
    evidence = RecordEvidence(record=handovers.LADDER, figure=figure, value="4.94x")
    folder = handovers.store(root, handovers.handover(root, notes=(handovers.note("claim", "c", evidence=evidence),)))
    render.render_handover(root, folder)
    assert f"shown by `{handovers.LADDER} {figure} 4.94x`" in page(folder)
    assert check_documents(root) == []


# --- budgets -----------------------------------------------------------------------------------------------------


def test_every_section_stays_within_its_budget_and_a_cut_names_the_command_that_shows_the_rest(root):
    many = [
        note.model_copy(update={"text": f"{note.text} {'word ' * 60}{number}"})
        for number in range(40)
        for note in handovers.notes()
    ]
    whole = handovers.handover(root)
    folder = handovers.store(
        root,
        handovers.handover(
            root, notes=many, commits=whole.commits * 200, files=whole.files * 100, plans=whole.plans * 30,
            uncommitted=("M some/file.py",) * 200, documents=whole.documents * 50, cleanup=whole.cleanup * 50,
        ),
    )  # fmt: skip
    render.render_handover(root, folder)
    assert check_documents(root) == []
    text = page(folder)
    titles = {
        "Quick summary": ("summary", f"cat logs/{handovers.SESSION}/handover.json"),
        "Commits and uncommitted files": ("tree", "git log --oneline 76543210"),
        "Files created and modified": ("files", f"cat logs/{handovers.SESSION}/handover.json"),
        "Recommended cleanup": ("cleanup", f"cat logs/{handovers.SESSION}/handover.json"),
        "What worked": ("worked", f"cat logs/{handovers.SESSION}/handover.json"),
        "What did not work": ("failed", f"cat logs/{handovers.SESSION}/notes/*-failed-*"),
        "Critical insight": ("insight", f"cat logs/{handovers.SESSION}/notes/*-insight-*"),
        "Options": ("options", "cat docs/ai_handbook/07_planning/plans/*.md"),
        "Success criteria": ("criteria", f"cat logs/{handovers.SESSION}/handover.json"),
        "Common issues": ("issues", f"cat logs/{handovers.SESSION}/handover.json"),
        "Documents to update": ("documents", "agent-tools docs check"),
        "Continuation prompt": ("prompt", f"cat logs/{handovers.SESSION}/handover.json"),
    }
    for title, (name, command) in titles.items():
        part = section(text, title).split("\nRecords, findings and notes under")[0]
        assert budgets.size(part) <= SECTION_TOKENS[name] * budgets.BYTES_PER_TOKEN + 3, title
        assert re.search(rf"\.\.\. `\d+` more lines: `{re.escape(command)}", part), title
    assert "At the end run: agent-tools session handover" in section(text, "Continuation prompt")


@given(st.lists(st.text(max_size=80)), st.integers(40, 200))
def test_a_cut_never_exceeds_its_budget_and_counts_what_it_left_out(texts, tokens):
    lines = [text.replace("\n", " ") for text in texts]
    kept = budgets.within(lines, tokens, "cat x")
    if kept != lines:
        assert sum(budgets.size(line) + 1 for line in kept) <= tokens * budgets.BYTES_PER_TOKEN
        whole = kept[:-2]
        assert whole == lines[: len(whole)]
        assert kept[-1] == f"... `{len(lines) - len(whole)}` more lines: `cat x`"


# --- words that stay ---------------------------------------------------------------------------------------------


def with_note(text: str, name: str, words: str) -> str:
    place = re.compile(rf"(<!-- BEGIN notes:{name}[^>]*-->).*?(<!-- END)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}{words}{found[2]}", text)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.text(st.characters(codec="utf-8", exclude_characters="\r<"), max_size=300),
    dropped=st.sampled_from(["", "summary", "lessons", "path", "risk"]),
    goal=st.sampled_from(["", "another goal"]),
)
def test_notes_survive_other_facts_and_other_templates_byte_for_byte(tmp_path_factory, words, dropped, goal):
    root = tmp_path_factory.mktemp("notes")
    factory.project(root)
    folder = handovers.store(root, handovers.handover(root))
    render.render_handover(root, folder)
    path = folder / HANDOVER_PAGE
    path.write_bytes(with_note(page(folder), "lessons", words).encode())
    handovers.store(root, handovers.handover(root, goal=goal))
    env, version = environment(), TEMPLATE_VERSIONS["handover"]
    loader = env.loader
    assert loader is not None
    source = loader.get_source(env, "handover.md.j2")[0]
    changed = re.sub(rf"<!-- BEGIN notes:{dropped} -->.*?<!-- END notes:{dropped} -->\n", "", source, flags=re.DOTALL)
    try:
        if dropped:
            env.loader, TEMPLATE_VERSIONS["handover"] = (
                ChoiceLoader([DictLoader({"handover.md.j2": changed}), loader]),
                "v99",
            )
        env.cache.clear()
        render.render_handover(root, folder)
    finally:
        env.loader, TEMPLATE_VERSIONS["handover"] = loader, version
        env.cache.clear()
    note = parse_document(path.read_bytes().decode(), "page").block("notes", "lessons")
    assert note is not None or not words.strip() or dropped == "lessons"
    assert note is None or note.body == words


def test_the_documents_of_the_prompt_are_those_that_the_page_mentions(root, folder):
    assert prompt_documents(page(folder)) == [
        f"logs/{handovers.SESSION}/handover.md",
        "AGENTS.md",
        "docs/ai_handbook/99_current_state.md",
    ]
    assert read_handover(folder, root) == handovers.handover(root)
