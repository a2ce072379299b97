"""What a template may print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from agent_tools.handbook.figures import FigureError, read_line
from agent_tools.handbook.markdown import code, environment, text


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
