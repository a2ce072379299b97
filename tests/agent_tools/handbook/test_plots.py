"""Plots: what they draw of a record, that they are the same each time, and their stamp."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.handbook.plots import canvas
from agent_tools.handbook.plots.comparison import draw_comparison, pairs_in_order
from agent_tools.handbook.plots.history import draw_history
from agent_tools.handbook.plots.ladder import draw_ladder, median_interval
from agent_tools.handbook.plots.stamps import is_current, stamp
from tests.agent_tools.handbook import factory


@pytest.mark.parametrize(("count", "depth"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5)])
def test_the_median_interval_has_the_published_depth(count, depth):
    # order statistics of the sign test at 95%: lower ranks 1 (n=6..8), 2 (9..11), 3 (12..14), 4 (15..16), 6 (20)
    values = [float(value) for value in range(count)]
    assert median_interval(values) == (values[depth], values[-1 - depth])


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30))
def test_the_interval_holds_the_median(values):
    low, high = median_interval(values)
    assert low <= sorted(values)[len(values) // 2] <= high


def test_a_stamp_shows_an_edit_and_other_inputs():
    text = stamp("<svg/>\n", "sha256:a", "v1")
    assert is_current(text, "sha256:a", "v1")
    assert not is_current(text, "sha256:b", "v1")
    assert not is_current(text, "sha256:a", "v2")
    assert not is_current(text.replace("<svg/>", "<svg />"), "sha256:a", "v1")
    assert not is_current("<svg/>\n", "sha256:a", "v1")


@pytest.mark.parametrize("draw", [draw_ladder, draw_comparison, draw_history])
def test_a_record_of_another_kind_is_refused(draw):
    with pytest.raises(ValueError, match=r"is not a (ladder|comparison|history); only"):
        draw(factory.trained())


def test_the_plot_is_a_whole_svg_with_a_bar_for_every_rung():
    svg = draw_ladder(factory.ladder(rounds=2, hmean=0.3))
    assert svg.rstrip().endswith("</svg>")
    assert svg.count(f"fill: {canvas.UNPROVEN}") == len(factory.RUNGS) - 1


@pytest.mark.parametrize(("draw", "record"), [(draw_comparison, factory.comparison), (draw_history, factory.history)])
def test_a_plot_of_pairs_drawn_anew_has_the_same_bytes_and_no_date(draw, record):
    svg = draw(record())
    assert draw(record()) == svg
    assert svg.rstrip().endswith("</svg>")
    assert not re.search(r"20\d\d-\d\d-\d\d|dc:date|\.local|/home", svg)


def test_the_pairs_are_the_rounds_in_order_with_who_ran_first_and_what_does_not_count():
    comparison = factory.comparison().comparison
    assert comparison is not None
    pairs = pairs_in_order(comparison.samples, ["A", "B"], comparison.target)
    assert [pair.tainted for pair in pairs] == [number == 3 for number in range(8)]
    assert [pair.a_first for pair in pairs] == [number % 3 != 0 for number in range(8)]
    clean = [pair.ratio for pair in pairs if not pair.tainted]
    assert all(1.05 < ratio < 1.2 for ratio in clean), clean
    higher = comparison.target.model_copy(update={"better": "higher"})
    turned = pairs_in_order(comparison.samples, ["A", "B"], higher)
    assert [1 / pair.ratio for pair in turned] == pytest.approx([pair.ratio for pair in pairs])


def test_a_round_with_one_side_missing_is_no_pair():
    comparison = factory.comparison().comparison
    assert comparison is not None
    kept = [sample for sample in comparison.samples if (sample.round, sample.arm) != (5, "B")]
    assert len(pairs_in_order(kept, ["A", "B"], comparison.target)) == 7


def test_a_comparison_without_samples_and_a_history_of_one_commit_are_drawn():
    assert "</svg>" in draw_comparison(factory.comparison(samples=[]))
    history = factory.history().history
    assert history is not None
    assert "</svg>" in draw_history(factory.history(points=history.points[:1]))
    assert "</svg>" in draw_history(factory.history(points=history.points[2:3]))


@pytest.mark.parametrize("text", ["$x", "$\\frac{1}{$", "<svg>&", "\u6f22\U0001f600", "", "x" * 500])
def test_no_name_can_break_a_plot(text):
    name = {"name": text}
    assert "</svg>" in draw_comparison(
        factory.comparison(arms=[factory.side("A", text), factory.side("B", text)], **name)
    )
    assert "</svg>" in draw_history(factory.history(**name))
    assert "</svg>" in draw_ladder(factory.ladder(dataset=factory.dataset(text), **name))


def test_the_colour_of_a_change_says_whether_ground_was_lost():
    history = factory.history().history
    assert history is not None
    faster = [point.model_copy(update={"change": "faster"} if point.change else {}) for point in history.points]
    assert canvas.WORSE in draw_history(factory.history())
    assert canvas.WORSE not in draw_history(factory.history(points=faster))
