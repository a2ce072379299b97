"""What a cell put out, as a reader needs it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("bs4", reason="needs the extra 'notebook'")

from agent_tools.workspace.notebooks.cell_outputs import (
    MOST_IMAGES,
    MOST_OUTPUTS,
    Distilled,
    distilled,
    first_line,
    plain,
)
from agent_tools.workspace.root import Root


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(**data: Any) -> dict[str, Any]:
    kinds = {name.replace("_", "/", 1).replace("_", "+"): value for name, value in data.items()}
    return {"output_type": "display_data", "data": kinds, "metadata": {}}


def encoded(size: tuple[int, int], mode: str = "RGB", kind: str = "PNG") -> str:
    written = io.BytesIO()
    Image.new(mode, size).save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


def of(folder: Path, *outputs: dict[str, Any], cap: int = 1000) -> Distilled:
    return distilled(Root.at(folder), "a-cell1", outputs, cap)


def test_texts_are_joined_with_colours_and_overwritten_progress_left_out(tmp_path):
    progress = "\r 10%|#\r 50%|##\r100%|###\n"
    found = of(
        tmp_path,
        stream("\x1b[31mred\x1b[0m\n\x1b]8;;http://x\x07link\x1b]8;;\x07\n"),
        stream(progress, "stderr"),
        display(text_plain="'value'"),
        display(application_json={"a": 1}),
        display(application_x="?"),
    )
    assert found.text == "red\nlink\n[stderr] 100%|###\n'value'\n{\"a\": 1}\n[application/x]"
    assert (found.error, found.files) == ("", ())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            {
                "text_html": "<table><tr><th>n</th></tr><tr><td>1 <b>x</b></td><td>2</td></tr></table>",
                "text_plain": "?",
            },
            "n\n1 x | 2",
        ),
        ({"text_html": "<p>Hello <i>you</i></p><script>bad()</script>", "text_plain": "plain"}, "plain"),
        ({"text_html": "<p>Hello <i>you</i></p>"}, "Hello you"),
        ({"text_html": "<table>no rows"}, "no rows"),
        ({"text_latex": "$x$", "text_markdown": "*x*"}, "*x*"),
    ],
)
def test_tables_become_lines_and_other_html_gives_way_to_plain_text(tmp_path, data, text):
    assert of(tmp_path, display(**data)).text == text


@pytest.mark.parametrize(("size", "kept"), [((1600, 800), (800, 400)), ((100, 2000), (40, 800)), ((10, 10), (10, 10))])
def test_a_picture_is_scaled_to_its_longest_side_and_kept_without_its_text(tmp_path, size, kept):
    found = of(tmp_path, display(image_png=encoded(size), text_plain="<Figure>"))
    assert found.text == ""
    with Image.open(tmp_path / found.files[0]) as image:
        assert (image.size, image.format) == (kept, "PNG")


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("L", "JPEG"), ("P", "GIF"), ("RGBA", "PNG"), ("1", "PNG")]
)
def test_pictures_of_every_mode_are_kept(tmp_path, mode, kind):
    data = {f"image_{kind.lower()}": encoded((900, 10), mode, kind)}
    assert len(of(tmp_path, display(**data)).files) == 1


@pytest.mark.parametrize("data", ["", "no base64!", base64.b64encode(b"no picture").decode(), encoded((50, 50))[:80]])
def test_a_picture_that_is_none_is_a_remark(tmp_path, data):
    found = of(tmp_path, stream("before"), display(image_png=data))
    assert found.text.startswith("before\n[a picture that cannot be read")
    assert found.files == ()


def test_a_picture_of_too_many_pixels_is_not_unpacked(tmp_path):
    assert "9000 x 8000 pixels" in of(tmp_path, display(image_png=encoded((9000, 8000), "1"))).text
    assert "cannot be read" in of(tmp_path, display(image_png=encoded((20000, 20000), "1"))).text


def test_what_is_beyond_the_caps_is_counted(tmp_path):
    pictures = [display(image_png=encoded((number + 1, 1))) for number in range(MOST_IMAGES + 1)]
    found = of(tmp_path, *pictures, *[stream("x")] * MOST_OUTPUTS)
    assert len(found.files) == MOST_IMAGES
    assert "a picture beyond the first" in found.text
    assert found.text.endswith(f"[{MOST_IMAGES + 1} more outputs]")


def test_a_long_text_is_cut_in_its_middle_and_kept_whole_without_secrets(tmp_path):
    text = "begin " + "x" * 5000 + " AKIA" + "A" * 16 + " end"
    found = of(tmp_path, stream(text), cap=100)
    assert found.text.startswith("begin ")
    assert found.text.endswith(" end")
    assert len(found.text) < 150
    kept = (tmp_path / found.files[0]).read_text()
    assert kept == text.replace("AKIA" + "A" * 16, "<secret masked>")


def test_a_drawing_is_kept_as_a_file(tmp_path):
    found = of(tmp_path, display(image_svg_xml="<svg/>"))
    assert (found.text, (tmp_path / found.files[0]).read_text()) == ("", "<svg/>")


def test_an_error_is_its_name_and_the_end_of_its_traceback(tmp_path):
    trace = ["\x1b[31m-----\x1b[0m", *[f"frame {number}" for number in range(500)], "ValueError: \u202ebad"]
    found = of(tmp_path, {"output_type": "error", "ename": "ValueError", "evalue": "\u202ebad", "traceback": trace})
    assert found.error.startswith("ValueError: <U+202E>bad\n[...]")
    assert found.error.endswith("frame 499\nValueError: <U+202E>bad")
    assert len(found.error) < 2000


@given(st.text())
def test_plain_text_has_neither_escapes_nor_overwritten_parts(text):
    assert "\r" not in plain(text)
    assert "\x1b[" not in plain(f"\x1b[1;31m{text}\x1b[0m") or "\x1b[" in text


def test_a_cell_is_known_by_its_first_line_that_says_something():
    assert first_line("\n\n  x = 1\ny") == "x = 1"
    assert first_line("") == ""
    assert len(first_line("y" * 500)) == 80
