"""What can be read by address: found, cleaned, cut with a sentence, and never out of its folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_tools.records.errors import WorkbenchError
from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workflows import resources
from agent_tools.workflows.resources import (
    HANDBOOK,
    JOB_LOGS,
    KEPT,
    KINDS,
    RECORDS,
    SESSIONS,
    Kind,
    completions,
    listing,
    read,
)
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root

JOB = "20261121T200622Z-train-3fa9c1"
RECORD = "20261121T200622Z-benchmark-3fa9c1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    for path, text in {
        "docs/ai_handbook/99_current_state.md": "# State\n",
        "docs/ai_handbook/02_dev_guide/testing.md": "# Testing\n",
        f"logs/2026-11-21_main/records/{RECORD}.json": '{"id": 1}\n',
        "logs/2026-11-21_main/main-findings.md": "# Findings\n",
        "logs/2026-11-21_main/notes/1.json": "{}\n",
        f"outputs/jobs/{JOB}/log.txt": "one\ntwo\n",
        f"outputs/jobs/{JOB}/state.json": "{}",
        "secret.txt": "password\n",
        "outputs/other.txt": "other\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return Root.at(tmp_path)


def test_every_kind_is_listed_and_what_is_listed_can_be_read(root):
    keep(root, "a.patch", "diff\n")
    listed = listing(root)
    assert {one.name.partition("/")[0] for one in listed} == {kind.name for kind in KINDS}
    for one in listed:
        kind = next(kind for kind in KINDS if one.name.startswith(f"{kind.name}/"))
        assert read(root, kind, one.name.removeprefix(f"{kind.name}/")).mime_type == one.mime_type


def test_the_listing_is_bounded_and_the_newest_come_first(root):
    for number in range(30):
        (root.path / f"logs/2026-11-21_main/records/20261122T0000{number:02}Z-train-3fa9c1.json").write_text("{}")
    names = [one.name for one in listing(root) if one.name.startswith("records/")]
    assert len(names) == resources.LISTED
    assert names[0] == "records/20261122T000029Z-train-3fa9c1"


def test_an_empty_repository_lists_nothing(tmp_path):
    assert listing(Root.at(tmp_path)) == []


def test_a_range_gives_its_lines_and_says_how_to_go_on(root):
    (root.path / f"outputs/jobs/{JOB}/log.txt").write_text("".join(f"line {n}\n" for n in range(1, 1001)))
    text = read(root, JOB_LOGS, JOB, start="10", lines="3").data
    assert text.splitlines() == [
        "line 10",
        "line 11",
        "line 12",
        f"[lines 10 to 12 of 1000; go on with workbench://jobs/{JOB}/log?start=13&lines=3]",
    ]
    last = read(root, JOB_LOGS, JOB, start="999", lines="3").data
    assert last.splitlines() == ["line 999", "line 1000"]


def test_following_the_sentence_reads_all_of_it_under_the_limit(root):
    lines = [f"{n} " + '\\"é' * (n % 60) for n in range(3000)]
    (root.path / f"outputs/jobs/{JOB}/log.txt").write_text("\n".join(lines) + "\n")
    seen: list[str] = []
    start = "1"
    while start:
        text = read(root, JOB_LOGS, JOB, start=start, lines="5000").data
        assert len(str(text)) < CHARACTER_LIMIT
        *more, last = str(text).split("\n")
        start = last.partition("?start=")[2].partition("&")[0]
        seen += more if start else [*more, last]
    assert seen == lines


def test_a_line_without_end_is_read_in_pieces(root):
    (root.path / f"outputs/jobs/{JOB}/log.txt").write_text("x" * 120_000)
    text = str(read(root, JOB_LOGS, JOB).data)
    assert len(text) < CHARACTER_LIMIT
    assert "go on with" in text


def test_of_a_huge_log_the_end_is_read_and_what_is_missing_is_counted(root, monkeypatch):
    monkeypatch.setattr(resources, "MOST_BYTES", 1000)
    (root.path / f"outputs/jobs/{JOB}/log.txt").write_text("a" * 5000 + "\nlast\n")
    lines = str(read(root, JOB_LOGS, JOB).data).splitlines()
    assert lines[0] == "[the first 4006 bytes are left out]"
    assert lines[-1] == "last"


def test_a_secret_is_masked_on_every_page_of_it(root):
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "c2VjcmV0\n" * 50 + "-----END RSA PRIVATE KEY-----\n"
    (root.path / f"outputs/jobs/{JOB}/log.txt").write_text("ghp_" + "a" * 36 + "\u202e\n" + key + "end\n")
    for start in ("1", "2", "3"):
        text = str(read(root, JOB_LOGS, JOB, start=start, lines="1").data)
        assert "c2VjcmV0" not in text
        assert "ghp_" not in text
    assert "<U+202E>" in str(read(root, JOB_LOGS, JOB).data)


@pytest.mark.parametrize(
    ("start", "lines"), [("0", ""), ("-1", ""), ("x", ""), ("1", "0"), ("1", "100000"), ("٣", ""), ("9" * 5000, "")]
)
def test_an_unusable_range_is_one_sentence(root, start, lines):
    with pytest.raises(WorkbenchError, match="must be a whole number") as refusal:
        read(root, JOB_LOGS, JOB, start=start, lines=lines)
    assert len(str(refusal.value)) < 200


def test_a_start_beyond_the_end_names_how_many_there_are(root):
    with pytest.raises(WorkbenchError, match="has 2 lines"):
        read(root, JOB_LOGS, JOB, start="3")


ESCAPES = [
    "../secret.txt",
    "../../secret.txt",
    "/etc/passwd",
    "..",
    ".",
    "a\0b",
    "%2e%2e/secret.txt",
    "-x",
    "",
    "~",
    "a\nb",
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_the_folder_of_its_kind(root, kind, name):
    with pytest.raises(WorkbenchError) as refusal:
        read(root, kind, name)
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize("target", ["secret.txt", "/etc/hostname", "outputs/other.txt"])
def test_a_link_that_leads_out_is_not_followed(root, target):
    goal = target if target.startswith("/") else str(root.path / target)
    (root.path / "outputs/kept").mkdir(parents=True)
    for place, kind, name in (
        ("docs/ai_handbook/link.md", HANDBOOK, "link.md"),
        ("logs/2026-11-21_main/link.md", SESSIONS, "2026-11-21_main/link.md"),
        ("outputs/kept/link.txt", KEPT, "link.txt"),
    ):
        os.symlink(goal, root.path / place)
        with pytest.raises(WorkbenchError):
            read(root, kind, name)


def test_a_record_or_a_log_that_is_a_link_out_of_the_root_is_refused(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x"
    elsewhere.write_text("password\n")
    record = root.path / f"logs/2026-11-21_main/records/{RECORD}.json"
    log = root.path / f"outputs/jobs/{JOB}/log.txt"
    for path, kind, name in ((record, RECORDS, RECORD), (log, JOB_LOGS, JOB)):
        path.unlink()
        path.symlink_to(elsewhere)
        with pytest.raises(WorkbenchError, match="outside"):
            read(root, kind, name)


def test_a_picture_is_sent_as_bytes_up_to_a_size_and_other_binaries_are_not(root, monkeypatch):
    name = Path(keep(root, "plot.png", PNG)).name
    content = read(root, KEPT, name)
    assert (content.data, content.mime_type) == (PNG, "image/png")
    other = Path(keep(root, "pack.bin", b"\0\1\2")).name
    with pytest.raises(WorkbenchError, match="neither text nor a picture"):
        read(root, KEPT, other)
    monkeypatch.setattr(resources, "MOST_PICTURE_BYTES", 10)
    with pytest.raises(WorkbenchError, match="bytes"):
        read(root, KEPT, name)


def test_a_name_that_is_not_there_names_the_nearest(root):
    with pytest.raises(WorkbenchError, match="workbench://handbook/99_current_state"):
        read(root, HANDBOOK, "99_curent_state.md")
    with pytest.raises(WorkbenchError, match=JOB):
        read(root, JOB_LOGS, JOB[:-1] + "0")


def test_a_damaged_record_can_still_be_looked_at(root):
    path = root.path / f"logs/2026-11-21_main/records/{RECORD}.json"
    path.write_bytes(b'{"id": "\xff broken')
    assert "broken" in str(read(root, RECORDS, RECORD).data)


def test_completion_offers_what_begins_so_first_and_counts_the_rest(root):
    assert completions(HANDBOOK.names(root), "99") == (["99_current_state.md"], 1)
    names, total = completions(SESSIONS.names(root), "", limit=1)
    assert (len(names), total) == (1, 2)
    assert completions(HANDBOOK.names(root), "test")[0] == ["02_dev_guide/testing.md"]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.text(max_size=6), st.text(max_size=6))
def test_any_name_and_range_is_read_or_refused_with_a_sentence(tmp_path_factory, name, start, lines):
    root = Root.at(tmp_path_factory.getbasetemp())
    for kind in KINDS:
        said = refusal(root, kind, name, start, lines)
        assert "\n" not in said
        assert len(said) < 1000


def refusal(root: Root, kind: Kind, name: str, start: str, lines: str) -> str:
    try:
        read(root, kind, name, start, lines)
    except WorkbenchError as error:
        return str(error)
    return ""
