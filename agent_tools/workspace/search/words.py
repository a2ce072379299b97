"""Words of code and of questions: identifiers are split, spellings unified, and terms of the field joined with others.

What is indexed and what is asked go through the same function, so that `normaliseImage`, `normalize_image` and
"normalisation of images" meet.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

LONGEST_WORD = 80
"""Longer runs of letters are data (hashes, encoded files), not words."""

MOST_TERMS = 32
"""Words of a question that are looked up; a longer text is cut."""

_RUN = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_BRITISH = re.compile(r"(?<=[a-z]{3})is(?=(?:e|ed|es|er|ers|ing|ation|ations|able)$)")
_ENDINGS = ((re.compile(r"(?<=[a-z]{3})our(?=s?$|ed$|ing$)"), "or"), (re.compile(r"(?<=[a-z])ogue(?=s?$)"), "og"))
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ations?|ators?|ates?|ions?|ings?|ed|ers?|es|e|s)$")
_SPELLINGS = {"centre": "center", "centres": "centers", "centred": "centered", "grey": "gray", "metre": "meter"}


def _read(name: str) -> list[list[str]]:
    """The words of a file beside this one, line by line."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").split("\n")
    return [[] if line.startswith("#") else line.split() for line in lines]


def _stop_words() -> tuple[frozenset[str], frozenset[str]]:
    lines = _read("stop_words.txt")
    place = lines.index([], 2)
    return frozenset(chain(*lines[:place])), frozenset(chain(*lines[place:]))


def _related_words() -> dict[str, frozenset[str]]:
    related: dict[str, frozenset[str]] = {}
    for group in _read("related_words.txt"):
        for word in group:
            key = _stem(word)
            related[key] = related.get(key, frozenset()) | (frozenset(group) - {word})
    return related


def _stem(word: str) -> str:
    """The word without its commonest ending, so that `normalization` finds what is said of `normalize`."""
    return _ENDING.sub("", word)


STOP_WORDS, ABOUT_CODE = _stop_words()
RELATED = _related_words()


@dataclass(frozen=True)
class Term:
    """One word of a question. `related` are other words for it; `is_identifier`: it looks like a name in code."""

    word: str
    related: frozenset[str]
    is_identifier: bool


def index_words(text: str) -> str:
    """Return the words of a text for the index: every run of letters and digits, and the parts of compound ones."""
    return " ".join(_words(text))


def split_identifier(name: str) -> list[str]:
    """Return the parts of an identifier in lower case: `loadJPEG2_fast` is load, jpeg, 2, fast."""
    return [unified(part) for part in _PART.findall(name)]


def unified(word: str) -> str:
    """Return a word in lower case and American spelling: whoever asks does not know how this text spells."""
    word = word.lower()
    word = _BRITISH.sub("iz", _SPELLINGS.get(word, word))
    for ending, other in _ENDINGS:
        word = ending.sub(other, word)
    return word


def question_terms(question: str) -> list[Term]:
    """Return the words of a question that are worth looking up, at most `MOST_TERMS`."""
    runs = [run for run in dict.fromkeys(_RUN.findall(question)) if len(run) <= LONGEST_WORD]
    kept = [run for run in runs if run.lower() not in STOP_WORDS and run.lower() not in ABOUT_CODE]
    kept = kept or [run for run in runs if run.lower() not in STOP_WORDS] or runs
    terms: dict[str, Term] = {}
    for run in kept:
        for word in _with_parts(run):
            terms.setdefault(word, Term(word, RELATED.get(_stem(word), frozenset()), len(split_identifier(run)) > 1))
    return list(terms.values())[:MOST_TERMS]


def identifiers(question: str) -> list[str]:
    """Return the words of a question that are written like names in code, in camel case or with underscores."""
    return [run for run in dict.fromkeys(_RUN.findall(question)) if len(split_identifier(run)) > 1 and len(run) > 3]


def _words(text: str) -> Iterator[str]:
    for run in _RUN.findall(text):
        if len(run) <= LONGEST_WORD:
            yield from _with_parts(run)


@functools.lru_cache(maxsize=1 << 16)
def _with_parts(run: str) -> tuple[str, ...]:
    parts = split_identifier(run)
    whole = unified(run)
    return (whole, *parts) if len(parts) > 1 else (whole,)
