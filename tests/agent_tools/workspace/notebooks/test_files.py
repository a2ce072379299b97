"""Notebook files: what is refused, which cells are chosen, and what saving leaves alone."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

nbformat = pytest.importorskip("nbformat", reason="needs the extra 'notebook'")

from agent_tools.workspace.notebooks.files import NotebookFile, NotebookFileError
from tests.agent_tools.workspace.notebooks.small_notebooks import content, write


def stored(folder: Path, text: str | bytes | dict[str, Any]) -> Path:
    path = folder / "a.ipynb"
    data = json.dumps(text) if isinstance(text, dict) else text
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("print(1)", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no numbers 'nbformat'"),
        ('{"cells": []}', "has no numbers 'nbformat'"),
        ('{"nbformat": "4"}', "has no numbers 'nbformat'"),
        ('{"nbformat": 9, "nbformat_minor": 0}', "has format 9"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "not a valid notebook"),
        (content("1") | {"cells": 3}, "cells: 3 is not of type"),
        (content("1") | {"cells": [{"cell_type": "code"}]}, "cells/0"),
        (
            content("1") | {"metadata": {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}},
            "written in r",
        ),
        (content("1") | {"metadata": {"language_info": {"name": "julia"}}}, "written in julia"),
    ],
)
def test_what_is_no_python_notebook_is_one_sentence_that_names_the_file(tmp_path, text, said):
    with pytest.raises(NotebookFileError) as refusal:
        NotebookFile.read(stored(tmp_path, text))
    assert said in str(refusal.value)
    assert str(refusal.value).startswith("a.ipynb ")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


NAMES = st.sampled_from(["cell_type", "source", "outputs", "metadata", "output_type", "data", "id", "execution_count"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["code", "markdown", "stream", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
)


@given(VALUES, st.none() | st.integers(0, 9) | st.text(max_size=2))
def test_any_cells_are_read_or_refused_with_a_sentence(tmp_path_factory, cells, minor):
    path = stored(tmp_path_factory.mktemp("n"), content() | {"cells": cells, "nbformat_minor": minor})
    with suppress(NotebookFileError):
        NotebookFile.read(path)


def test_an_older_format_is_read_but_not_saved(tmp_path):
    code = {
        "cell_type": "code",
        "input": ["1"],
        "language": "python",
        "metadata": {},
        "outputs": [],
        "collapsed": False,
    }
    old = {
        "metadata": {"name": ""},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [{"cells": [code], "metadata": {}}],
    }
    file = NotebookFile.read(stored(tmp_path, old))
    before = file.path.read_bytes()
    assert file.chosen("") == [0]
    assert "has format 3" in file.save([0])
    assert file.path.read_bytes() == before


@pytest.mark.parametrize(
    ("cells", "numbers"), [("", [1, 3]), ("3,1", [3, 1]), ("0-4", [1, 3]), (" 1 - 1 , 3", [1, 3]), ("1,1", [1])]
)
def test_cells_are_chosen_by_number_and_only_code_that_can_run_counts(tmp_path, cells, numbers):
    text = content("#md", "a", "  ", "b", "skipped")
    text["cells"][4]["metadata"] = {"tags": ["skip-execution"]}
    assert NotebookFile.read(stored(tmp_path, text)).chosen(cells) == numbers


@pytest.mark.parametrize("cells", ["x", "1-", "-1", "2-1", "5", "0-99", "1;2", "0x1", "9" * 30, ",", "0", "1\n"])
def test_cells_that_are_not_there_are_refused_with_what_is(tmp_path, cells):
    file = NotebookFile.read(write(tmp_path / "a.ipynb", "#md", "a"))
    with pytest.raises(NotebookFileError, match=r"cells 0-1|numbers and ranges|that is in: 1"):
        file.chosen(cells)


@pytest.mark.parametrize(
    "style", [{"indent": 1}, {"indent": 2}, {"indent": "\t"}, {}, {"ensure_ascii": False, "indent": 1}]
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_saving_keeps_every_other_byte(tmp_path, style, end):
    text = content("#md grüße \u202e", "a", "b")
    text = {"metadata": {"z": {"b": 1.0, "a": [1e-3, 2]}, "a": {"y": None}}, **text}
    del text["cells"][2]["id"]
    path = stored(tmp_path, json.dumps(text, **style) + end)
    before = path.read_bytes()
    file = NotebookFile.read(path)
    assert file.save([]) == ""
    assert path.read_bytes() == before
    file.notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="one\ntwo \ud800\n")]
    assert file.save([1]) == ""
    after = json.loads(path.read_bytes())
    assert after["cells"][1]["outputs"][0]["text"] == ["one\n", "two \ud800\n"]
    after["cells"][1]["outputs"] = []
    assert after == text


def test_outputs_that_do_not_fit_the_format_are_not_written(tmp_path):
    path = write(tmp_path / "a.ipynb", "a")
    before = path.read_bytes()
    file = NotebookFile.read(path)
    file.notebook.cells[0].outputs = [nbformat.from_dict({"output_type": "stream", "name": 3, "text": "x"})]
    assert "do not fit the format" in file.save([0])
    assert path.read_bytes() == before
