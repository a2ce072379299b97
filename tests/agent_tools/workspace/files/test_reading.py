"""Reading a file: exact, by any range, with a word on what cannot be seen; and quick, whatever the file is."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent_tools.results import CHARACTER_LIMIT
from agent_tools.workspace.files import line_pages
from agent_tools.workspace.files import reading as files
from agent_tools.workspace.files.opening import FileError
from agent_tools.workspace.files.reading import UNKNOWN, FileText, file_read
from agent_tools.workspace.root import Root


def read(folder: Path, name: str = "a.txt", **arguments) -> FileText:
    answer = file_read(Root.at(folder), name, **arguments)
    assert len(answer.model_dump_json()) <= CHARACTER_LIMIT
    return answer


def write(folder: Path, text: str | bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def pages(folder: Path, name: str = "a.txt", **arguments) -> list[FileText]:
    """All pages of a file."""
    found = [read(folder, name, **arguments)]
    while found[-1].next_cursor:
        found.append(read(folder, name, **(arguments | {"cursor": found[-1].next_cursor})))
        assert len(found) < 1000
    return found


NUMBERED = "".join(f"line {number}\n" for number in range(1, 1001))


# --- ranges ------------------------------------------------------------------------------------------------------


def test_the_text_is_exact_and_marked_as_data(tmp_path):
    text = "a\t b  \n\n\u202e hidden \u00a0\nsk-" + "a" * 30 + "\n"
    write(tmp_path, text)
    answer = read(tmp_path)
    assert (answer.text, answer.first_line, answer.total_lines, answer.next_cursor) == (text, 1, 4, "")
    assert answer.untrusted
    assert answer.notes == [
        "line 3: invisible U+202E, U+00A0",
        "line 4: looks like a secret; do not pass it on",
    ]


def test_a_range_is_read_from_the_start_or_from_the_end(tmp_path):
    write(tmp_path, NUMBERED)
    assert read(tmp_path, start=500, limit=2).text == "line 500\nline 501\n"
    tail = read(tmp_path, start=-2)
    assert (tail.text, tail.first_line, tail.total_lines, tail.next_cursor) == ("line 999\nline 1000\n", 999, 1000, "")
    assert read(tmp_path, start=-5000, limit=1).text == "line 1\n"
    assert read(tmp_path, start=0, limit=1).text == "line 1\n"


def test_pages_fit_together_to_the_whole_file(tmp_path):
    write(tmp_path, NUMBERED)
    found = pages(tmp_path, limit=300)
    assert [page.first_line for page in found] == [1, 301, 601, 901]
    assert "".join(page.text for page in found) == NUMBERED


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.text(alphabet='ab\u00e9\u4e2d\U0001f389\r\t"\\\x01', max_size=12), max_size=12),
    ends_open=st.booleans(),
    limit=st.integers(1, 5),
    start=st.integers(-14, 14),
)
def test_any_text_is_read_as_python_reads_it(tmp_path_factory, lines, ends_open, limit, start):
    folder = tmp_path_factory.mktemp("any")
    text = "\n".join(lines) + ("" if ends_open else "\n")
    write(folder, text)
    expected = text.split("\n")
    expected = [f"{line}\n" for line in expected[:-1]] + ([expected[-1]] if expected[-1] else [])
    assert "".join(page.text for page in pages(folder, limit=limit)) == text
    assert read(folder).total_lines == len(expected)
    if start < 0:
        assert read(folder, start=start).text == "".join(expected[start:])
    elif 0 < start <= len(expected):
        assert read(folder, start=start, limit=limit).text == "".join(expected[start - 1 : start - 1 + limit])


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_no_line_is_lost_where_blocks_meet(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(line_pages, "CHUNK", chunk)
    monkeypatch.setattr("agent_tools.workspace.files.line_search.CHUNK", chunk)
    text = "one\r\ntwo\n\nneedle three\r\nfour needle needle\nfive"
    write(tmp_path, text)
    lines = text.split("\n")
    for number in range(1, 7):
        assert read(tmp_path, start=number, limit=1).text.rstrip("\n") == lines[number - 1]
        assert read(tmp_path, start=-number).text == "\n".join(lines[-number:])
    assert read(tmp_path).notes == ["2 of 6 lines end with CRLF", "no line end after the last line"]
    assert read(tmp_path, contains="needle").notes[0] == "2 lines with 'needle'"


def test_a_start_past_the_end_says_how_long_the_file_is(tmp_path):
    write(tmp_path, "one\ntwo\n")
    for start in (3, 10**6):
        with pytest.raises(FileError, match=f"no line {start}: it has 2 lines; start=-100"):
            read(tmp_path, start=start)


@pytest.mark.parametrize("cursor", ["x", "1", "1:999", "1:-2", "1:2:3", "9" * 30 + ":1"])
def test_a_cursor_of_something_else_is_refused(tmp_path, cursor):
    write(tmp_path, "one\n")
    with pytest.raises(FileError, match="no cursor"):
        read(tmp_path, cursor=cursor)


# --- what is unusual is said ---------------------------------------------------------------------------------------


def test_an_empty_file_is_called_empty(tmp_path):
    write(tmp_path, "")
    answer = read(tmp_path)
    assert (answer.text, answer.total_lines, answer.notes) == ("", 0, ["the file is empty"])


def test_line_ends_and_a_byte_order_mark_are_named_and_the_text_stays_exact(tmp_path):
    write(tmp_path, b"\xef\xbb\xbfone\r\ntwo\nthree\rfour")
    answer = read(tmp_path)
    assert answer.text == "one\r\ntwo\nthree\rfour"
    assert answer.notes == [
        "starts with a UTF-8 byte order mark, not shown",
        "1 of 3 lines end with CRLF",
        "1 carriage returns without a line feed",
        "no line end after the last line",
        "line 3: invisible U+000D",
    ]


def test_bytes_that_are_not_utf8_are_shown_and_named(tmp_path):
    write(tmp_path, "gr\u00fc\u00dfe\n".encode() + b"gr\xfc\xdfe\n")
    answer = read(tmp_path)
    assert answer.text == "gr\u00fc\u00dfe\ngr\\xfc\\xdfe\n"
    assert answer.notes == ["line 2: bytes that are not UTF-8, shown as \\xNN"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_shown_as_text(tmp_path, encoding):
    write(tmp_path, "\ufeffgr\u00fc\u00dfe\ntwo\n".encode(encoding))
    answer = read(tmp_path, start=2)
    assert answer.text == "two\n"
    assert "UTF-16" in answer.notes[0]


def test_a_binary_file_is_named_and_not_shown(tmp_path):
    write(tmp_path, b"\x7fELF\0\0\0")
    assert read(tmp_path).notes == ["a program or library (ELF), 7 bytes; not shown"]
    write(tmp_path, b"a\0b")
    assert read(tmp_path).notes == ["a binary file, 3 bytes; not shown"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_named_with_its_size(tmp_path, kind):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.txt", kind)
    assert read(tmp_path).notes[0].startswith(f"a {kind} picture, 30 x 20 pixels, ")


def test_a_damaged_picture_is_a_binary_file(tmp_path):
    write(tmp_path, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff")
    assert read(tmp_path).notes[0].startswith("a binary file, ")


def test_a_notebook_is_shown_as_the_sources_of_its_cells(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "x" * 5000}]},
    ]
    write(tmp_path, json.dumps({"cells": cells}), "n.ipynb")
    answer = read(tmp_path, "n.ipynb")
    assert answer.text == "# %% [0, markdown]\n# Title\ntext\n\n# %% [1, code]\nprint(1)\n\n"
    assert "notebook_run" in answer.notes[0]


@pytest.mark.parametrize(
    "text", ["{}", "[]", "not json", '{"cells": [1]}', '{"cells": [{"source": []}]}', "[" * 10_000]
)
def test_a_notebook_that_is_none_is_shown_as_it_is(tmp_path, text):
    write(tmp_path, text, "n.ipynb")
    assert read(tmp_path, "n.ipynb").text.startswith(text[:4000])


def test_many_unusual_lines_are_counted_instead_of_listed(tmp_path):
    write(tmp_path, "\u200b\n" * 100)
    assert len(read(tmp_path).notes) == 21
    assert read(tmp_path).notes[-1] == "80 more such lines"


# --- long lines and large files -------------------------------------------------------------------------------------


def test_a_long_line_is_cut_and_read_on_by_its_cursor(tmp_path):
    long = "".join(f"{number:06}" for number in range(10_000))
    write(tmp_path, f"before\n{long}\nafter\n")
    answer = read(tmp_path)
    head = long[: line_pages.LINE_BYTES]
    rest = f"2:{7 + line_pages.LINE_BYTES}"
    assert answer.text == f"before\n{head}[... 56,000 bytes of this line from cursor={rest}]\nafter\n"
    assert f"line 2 is cut; cursor={rest} reads on" in answer.notes
    pieces = pages(tmp_path, cursor=rest)
    joined = "".join(line for page in pieces for line in page.text.split("[... ")[:1])
    assert (head + joined).startswith(long)
    assert pieces[-1].text.endswith("after\n")


def test_a_long_line_is_never_cut_inside_a_character(tmp_path):
    write(tmp_path, "\u4e2d" * 5000 + "\n")
    assert "\\x" not in read(tmp_path).text
    write(tmp_path, "a" + "\u4e2d" * 5000 + "\n")
    assert not [note for note in read(tmp_path).notes if "UTF-8" in note]


def test_control_characters_do_not_make_a_page_too_long(tmp_path):
    write(tmp_path, "x" * line_pages.LINE_BYTES * 3 + "\x01" * 200_000 + "\n" + "\x01" * 3999 + "\n")
    assert len(pages(tmp_path)) > 0
    assert len(pages(tmp_path, cursor="1:9000")) > 5


def test_a_line_of_gigabytes_and_a_sparse_file_are_quick_and_take_no_memory(tmp_path):
    path = write(tmp_path, "first\n" + "a" * 10_000)
    with path.open("r+b") as stream:
        stream.truncate(5 << 30)
    started = time.monotonic()
    tracemalloc.start()
    answer = read(tmp_path)
    tail = read(tmp_path, start=-10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - started < 20
    assert peak < 32 << 20
    assert answer.total_lines == UNKNOWN
    assert answer.text.startswith("first\naaa")
    assert answer.next_cursor.startswith("2:")
    assert "5,368,709,120 bytes" in answer.notes[0]
    assert tail.first_line <= 0


def test_a_large_file_is_read_at_its_end_and_in_its_middle_without_counting_it(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "COUNTED_BYTES", 1000)
    write(tmp_path, NUMBERED)
    tail = read(tmp_path, start=-3, limit=2)
    assert (tail.text, tail.first_line, tail.total_lines) == ("line 998\nline 999\n", -3, UNKNOWN)
    assert read(tmp_path, cursor=tail.next_cursor).text == "line 1000\n"
    assert read(tmp_path, start=400, limit=1).text == "line 400\n"


def test_what_one_call_scans_is_bounded(tmp_path, monkeypatch):
    for module in ("line_pages", "line_search"):
        monkeypatch.setattr(f"agent_tools.workspace.files.{module}.SCAN_BYTES", 2000)
        monkeypatch.setattr(f"agent_tools.workspace.files.{module}.CHUNK", 500)
    monkeypatch.setattr(files, "COUNTED_BYTES", 1000)
    write(tmp_path, NUMBERED)
    with pytest.raises(FileError, match="have fewer"):
        read(tmp_path, start=900)
    found = pages(tmp_path, contains="line 77")
    assert len(found) == 5
    assert [line for page in found for line in page.text.split("\n") if ":" in line] == [
        "77: line 77",
        *(f"{number}: line {number}" for number in range(770, 780)),
    ]


# --- searching ------------------------------------------------------------------------------------------------------


def test_only_lines_with_the_text_are_shown_with_their_numbers_and_neighbours(tmp_path):
    write(tmp_path, NUMBERED)
    answer = read(tmp_path, contains="line 50", limit=2)
    assert answer.text.split("\n") == [
        *("48- line 48", "49- line 49", "50: line 50", "51- line 51", "52- line 52", "--"),
        *("498- line 498", "499- line 499", "500: line 500", "501- line 501", "502- line 502"),
    ]
    assert answer.notes[0] == "2 lines with 'line 50'"
    following = read(tmp_path, contains="line 50", limit=2, cursor=answer.next_cursor)
    assert [line for line in following.text.split("\n") if ": " in line] == ["501: line 501", "502: line 502"]


def test_neighbours_of_two_matches_are_shown_once(tmp_path):
    write(tmp_path, "a\nb\nX\nc\nX\nd\n")
    assert read(tmp_path, contains="X").text == "1- a\n2- b\n3: X\n4- c\n5: X\n6- d"


def test_lower_case_matches_any_case_and_capitals_only_themselves(tmp_path):
    write(tmp_path, "Error\nerror\nERROR\n")
    assert read(tmp_path, contains="error").notes[0] == "3 lines with 'error'"
    assert read(tmp_path, contains="Error").notes[0] == "1 lines with 'Error'"


def test_the_end_of_a_log_is_searched_alone(tmp_path):
    write(tmp_path, "error\n" + NUMBERED + "error\n")
    assert read(tmp_path, contains="error", start=-5).text.split("\n")[-1] == "1002: error"
    assert read(tmp_path, contains="error", start=-5).notes[0] == "1 lines with 'error'"


def test_a_match_in_a_long_line_is_shown_with_what_stands_around_it(tmp_path):
    write(tmp_path, "x" * 50_000 + "\u4e2dNEEDLE" + "y" * 50_000 + "\nNEEDLE\n")
    answer = read(tmp_path, contains="NEEDLE")
    assert answer.notes[0] == "2 lines with 'NEEDLE'"
    assert "\u4e2dNEEDLEyyy" in answer.text
    assert len(answer.text) < 2000


def test_no_match_says_so(tmp_path):
    write(tmp_path, NUMBERED)
    answer = read(tmp_path, contains="absent")
    assert (answer.text, answer.next_cursor, answer.notes[0]) == ("", "", "0 lines with 'absent'")


@pytest.mark.parametrize("contains", ["a\nb", "\u202e", "x" * 501])
def test_a_text_that_no_line_can_hold_is_refused(tmp_path, contains):
    write(tmp_path, "a\nb\n")
    with pytest.raises(FileError, match="contains is"):
        read(tmp_path, contains=contains)


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(alphabet="ab\n", max_size=60),
    needle=st.text(alphabet="ab", min_size=1, max_size=3),
    chunk=st.integers(1, 9),
)
def test_searching_finds_the_lines_that_python_finds(tmp_path_factory, text, needle, chunk):
    folder = tmp_path_factory.mktemp("search")
    write(folder, text)
    lines = text.split("\n")
    expected = [f"{number}: {line}".rstrip() for number, line in enumerate(lines, 1) if needle in line]
    with pytest.MonkeyPatch.context() as patch:
        for module in ("line_pages", "line_search"):
            patch.setattr(f"agent_tools.workspace.files.{module}.CHUNK", chunk)
        found = [line for page in pages(folder, contains=needle, limit=2) for line in page.text.split("\n")]
    assert [line for line in found if line.split(" ")[0].endswith(":")] == expected


def test_a_large_log_is_searched_quickly(tmp_path):
    write(tmp_path, NUMBERED * 3000 + "the end\n")
    started = time.monotonic()
    answer = read(tmp_path, contains="the end")
    assert time.monotonic() - started < 3
    assert answer.text.endswith("3000001: the end")


def test_a_regular_expression_is_plain_text_so_that_none_can_hang(tmp_path):
    write(tmp_path, "a" * 40 + "!\n(a+)+$\n")
    assert read(tmp_path, contains="(a+)+$").notes[0] == "1 lines with '(a+)+$'"


def test_every_long_line_that_holds_a_text_shows_where_it_does(tmp_path):
    write(tmp_path, "".join(f"{'x' * 900}needle{number}\n" for number in range(6)))
    found = read(tmp_path, contains="needle").text
    assert [f"needle{number}" in found for number in range(6)] == [True] * 6
