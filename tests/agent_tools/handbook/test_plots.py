"""Plots: the interval that they draw, and their stamp."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook import plots
from tests.agent_tools.handbook import factory


@pytest.mark.parametrize(("count", "depth"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5)])
def test_the_median_interval_has_the_published_depth(count, depth):
    # order statistics of the sign test at 95%: lower ranks 1 (n=6..8), 2 (9..11), 3 (12..14), 4 (15..16), 6 (20)
    values = [float(value) for value in range(count)]
    assert plots.median_interval(values) == (values[depth], values[-1 - depth])


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30))
def test_the_interval_holds_the_median(values):
    low, high = plots.median_interval(values)
    assert low <= sorted(values)[len(values) // 2] <= high


def test_a_stamp_shows_an_edit_and_other_inputs():
    text = plots.stamp("<svg/>\n", "sha256:a", "v1")
    assert plots.is_current(text, "sha256:a", "v1")
    assert not plots.is_current(text, "sha256:b", "v1")
    assert not plots.is_current(text, "sha256:a", "v2")
    assert not plots.is_current(text.replace("<svg/>", "<svg />"), "sha256:a", "v1")
    assert not plots.is_current("<svg/>\n", "sha256:a", "v1")


def test_a_record_that_is_no_ladder_has_no_plot():
    with pytest.raises(ValueError, match="is not a ladder"):
        plots.draw_ladder(factory.trained())


def test_the_plot_is_a_whole_svg_with_a_bar_for_every_rung():
    svg = plots.draw_ladder(factory.ladder(rounds=2, hmean=0.3))
    assert svg.rstrip().endswith("</svg>")
    assert svg.count(f"fill: {plots.UNPROVEN}") == len(factory.RUNGS) - 1
