"""What a template may print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from agent_tools.handbook.figures import FigureError, read_line
from agent_tools.handbook.markdown import code, environment, quoted, text


def test_a_bare_number_in_a_template_is_an_error():
    with pytest.raises(FigureError, match=r"bare number 1\.5"):
        environment().from_string("{{ value }}").render(value=1.5)


def test_an_undefined_name_in_a_template_is_an_error():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()


@given(st.text())
def test_printed_text_stays_on_one_line_and_holds_neither_a_number_nor_a_marker(value):
    for shown in (str(text(value)), str(code(value))):
        assert "\n" not in shown
        assert "<!--" not in shown
        assert list(read_line(f"x {shown} y")) == []


@given(st.text(alphabet=st.sampled_from("`ab 12.5%x-|<![](*:\n"), max_size=40) | st.text())
def test_what_the_code_says_of_itself_holds_no_number_and_no_marker(value):
    shown = str(quoted(value))
    assert "\n" not in shown
    assert "<!--" not in shown
    assert list(read_line(f"x {shown} y")) == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("at most 8 workers, `auto`: 0", "at most `8` workers, `auto`: `0`"),
        ("an 8x gain in 3 s", "an `8x` gain in `3 s`"),
        ("ResNet-18, bf16 and 3x3 stay", "ResNet-18, bf16 and 3x3 stay"),
        ("``two`` marks", "`two` marks"),
        ("a | b <c> [d] *e*", r"a \| b &lt;c> \[d\] \*e\*"),
        ("a lone ` and 5", "a lone &grave; and `5`"),
        ("`a`5", "`a` `5`"),
        ("", ""),
    ],
)
def test_numbers_and_code_marks_of_the_code_are_quoted(value, shown):
    assert quoted(value) == shown
