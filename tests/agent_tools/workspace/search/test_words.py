"""Words of code and of questions meet, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_tools.workspace.search.words import (
    LONGEST_WORD,
    MOST_TERMS,
    identifiers,
    index_words,
    question_terms,
    split_identifier,
    unified,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("loadJPEG2_fast", ["load", "jpeg", "2", "fast"]),
        ("HTTPServer", ["http", "server"]),
        ("__init__", ["init"]),
        ("DBNet", ["db", "net"]),
        ("größeNeu", ["gr", "öß", "e", "neu"]),
        ("_", []),
    ],
)
def test_an_identifier_is_split_at_capitals_underscores_and_digits(name, parts):
    assert split_identifier(name) == parts


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("normalisation", "normalization"),
        ("Optimised", "optimized"),
        ("colour", "color"),
        ("centre", "center"),
        ("catalogue", "catalog"),
    ],
)
def test_both_spellings_are_one_word(british, american):
    assert unified(british) == american == unified(american)


@pytest.mark.parametrize("word", ["rise", "is", "four", "our", "list", "this"])
def test_short_words_that_only_look_british_stay(word):
    assert unified(word) == word


def test_text_is_indexed_whole_and_in_parts():
    assert index_words("load_image(path)").split() == ["load_image", "load", "image", "path"]


def test_words_of_every_question_are_left_out_unless_there_are_no_others():
    assert [term.word for term in question_terms("where is the normalisation logic")] == ["normalization"]
    assert [term.word for term in question_terms("where is the code")] == ["code"]
    assert [term.word for term in question_terms("what is it")] == ["what", "is", "it"]


def test_a_word_brings_those_that_mean_nearly_the_same():
    (term,) = question_terms("pictures")
    assert {"image", "photo"} <= term.related
    assert term.word not in term.related


def test_names_in_a_question_are_told_from_its_words():
    assert identifiers("usage examples of CacheTier and load_image, please") == ["CacheTier", "load_image"]


@given(st.text(max_size=400))
def test_any_text_gives_bounded_words_without_syntax_of_the_search(text):
    words = [term.word for term in question_terms(text)]
    assert len(words) <= MOST_TERMS
    for word in words:
        assert 0 < len(word) <= 2 * LONGEST_WORD
        assert '"' not in word
    assert '"' not in index_words(text)
