"""What answers a question best: BM25 over weighted columns per word, joined so that more words count more.

bm25 of SQLite rates one word at a time (Robertson & Zaragoza 2009); what it cannot do is done here: words related to
those of the question count for less than its own, a unit that holds more of the words is better than one that repeats
one of them, and a definition is better than a test or a log of it.
"""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from agent_tools.workspace.root import Root
from agent_tools.workspace.search.words import Term, identifiers, question_terms, unified

Wanted = Literal["any", "function", "class", "heading", "config", "test"]
"""What may be asked for alone; targets of make are configuration."""

WEIGHTS = {"name": 1.5, "says": 1.0, "place": 1.0, "body": 0.4}
"""Of the fields; tuned on one half of the shipped questions."""

RELATED_WEIGHT = 0.45
"""Of a word that is only related to one of the question."""

COVERAGE_POWER = 1.5
"""How much it counts that a unit holds many of the question's words; 0: not at all."""

EXACT_NAME = 3.0
"""Factor for a unit whose name is a word of the question, written as a name."""

KIND_FACTORS = {"heading": 0.5, "file": 0.5, "config": 0.9, "target": 0.9, "constant": 0.9}
TEST_FACTOR = 0.4
FOLDER_FACTORS = {"logs": 0.5}
"""What was written about the code is rarely what is looked for; asked for by kind or path it comes alone."""

DEPTH = 500
"""Units rated per word, the best ones first."""

SMALLEST_PIECE = 3
"""Letters that a part of a name needs to be looked up as such."""


FILE_WEIGHT = 0.15
CLASS_WEIGHT = 0.6
PER_FILE = 2

T = TypeVar("T")


LONGEST_SUGGESTION = 24


@dataclass(frozen=True)
class Candidate:
    """A unit that holds words of the question."""

    unit: int
    kind: str
    name: str
    test: bool
    path: str


@dataclass(frozen=True)
class Hit:
    """One unit that answers a question, with its score (higher is better; only comparable within one answer)."""

    unit: int
    score: float


@dataclass(frozen=True)
class _Scope:
    """Which units a question is about: part of every query, since only the best of each word are looked at."""

    condition: str = ""
    values: tuple[str | int, ...] = ()

    @classmethod
    def of(cls, wanted: Wanted, folder: str) -> _Scope:
        """Units of a kind, below a folder or in one file; 'any' and '' leave nothing out."""
        conditions, values = list[str](), list[str | int]()
        if wanted != "any":
            kinds = {"test": ("function", "class"), "config": ("config", "target")}.get(wanted, (wanted,))
            conditions.append(f"u.test = {int(wanted == 'test')} and u.kind in ({', '.join('?' * len(kinds))})")
            values += kinds
        if folder:
            conditions.append("(f.path = ? or substr(f.path, 1, ?) = ?)")
            values += [folder, len(folder) + 1, f"{folder}/"]
        return cls("".join(f" and {condition}" for condition in conditions), tuple(values))

    def joined(self, table: str) -> str:
        """What a query of `table` has to join."""
        return f"join units u on u.id = {table}.rowid join files f on f.id = u.file" if self.condition else ""


def ranked(database: sqlite3.Connection, question: str, wanted: Wanted, folder: str, most: int) -> list[Hit]:
    """Return the units that answer a question, best first.

    Args:
        database: the index.
        question: plain language, or names of the code.
        wanted: the only kind.
        folder: only below this folder, or this file; '' everywhere.
        most: how many at most.
    """
    scope = _Scope.of(wanted, folder)
    by_term = [_term_scores(database, term, scope) for term in question_terms(question)]
    own = _covered(by_term)
    candidates = _candidates(database, sorted(own, key=lambda unit: -own[unit])[:DEPTH])
    names = {unified(name) for name in identifiers(question)}
    together = _file_scores(candidates, by_term)
    classes = _class_scores(candidates, own)
    hits = [
        Hit(
            one.unit,
            (own[one.unit] + CLASS_WEIGHT * classes.get((one.path, one.name), 0.0) + FILE_WEIGHT * together[one.path])
            * _factor(one, wanted, names),
        )
        for one in candidates
    ]
    hits.sort(key=lambda hit: (-hit.score, hit.unit))
    return _spread(hits, {one.unit: one.path for one in candidates})[:most]


def _covered(by_term: Sequence[Mapping[T, float]]) -> dict[T, float]:
    """The sum over the words of a question, times the share of them that are there."""
    scores: dict[T, float] = {}
    counted: dict[T, int] = {}
    for found in by_term:
        for key, score in found.items():
            scores[key] = scores.get(key, 0.0) + score
            counted[key] = counted.get(key, 0) + 1
    return {key: score * (counted[key] / len(by_term)) ** COVERAGE_POWER for key, score in scores.items()}


def _file_scores(candidates: Sequence[Candidate], by_term: Sequence[Mapping[int, float]]) -> dict[str, float]:
    """How well each file as a whole covers the question: per word, the best of its units."""
    files: list[dict[str, float]] = []
    for found in by_term:
        best: dict[str, float] = {}
        for one in candidates:
            if one.unit in found:
                best[one.path] = max(best.get(one.path, 0.0), found[one.unit])
        files.append(best)
    return _covered(files)


def _class_scores(candidates: Sequence[Candidate], own: Mapping[int, float]) -> dict[tuple[str, str], float]:
    """The best score among the methods of each class, by the file and name of the class."""
    best: dict[tuple[str, str], float] = {}
    for one in candidates:
        owner = (one.path, one.name.rpartition(".")[0])
        best[owner] = max(best.get(owner, 0.0), own[one.unit] if owner[1] else 0.0)
    return best


def _spread(hits: Sequence[Hit], paths: Mapping[int, str]) -> list[Hit]:
    """Of each file the best few first: a question about many files must not be answered by one."""
    first: list[Hit] = []
    later: list[Hit] = []
    seen: Counter[str] = Counter()
    for hit in hits:
        seen[paths[hit.unit]] += 1
        (first if seen[paths[hit.unit]] <= PER_FILE else later).append(hit)
    return [*first, *later]


def nearest_words(database: sqlite3.Connection, question: str, most: int) -> list[str]:
    """Return words of the index that look like those of a question, nearest first."""
    near: dict[str, float] = {}
    for term in question_terms(question):
        known = set[str]()
        for field in ("name", "says"):
            rows = database.execute(
                f"select term from {field}_vocabulary where term between ? and ? and abs(length(term) - ?) < 8",  # noqa: S608 - our own names
                (term.word[:1], term.word[:1] + "\U0010ffff", len(term.word)),
            )
            # Letters alone: a key or password that somebody left in a file is no suggestion.
            known.update(word for (word,) in rows if word.isalpha() and len(word) <= LONGEST_SUGGESTION)
        for word in difflib.get_close_matches(term.word, known, n=3, cutoff=0.6):
            near[word] = max(near.get(word, 0.0), difflib.SequenceMatcher(None, word, term.word).ratio())
    return sorted(near, key=lambda word: (-near[word], word))[:most]


def _term_scores(database: sqlite3.Connection, term: Term, scope: _Scope) -> dict[int, float]:
    scores = _word_scores(database, term.word, 1.0, scope)
    if not scores and len(term.word) >= SMALLEST_PIECE:
        scores = _pieces(database, term.word, scope)
    for word in sorted(term.related):
        for unit, score in _word_scores(database, word, RELATED_WEIGHT, scope).items():
            scores[unit] = max(scores.get(unit, 0.0), score)
    return scores


def _word_scores(database: sqlite3.Connection, word: str, weight: float, scope: _Scope) -> dict[int, float]:
    scores: dict[int, float] = {}
    for field, factor in WEIGHTS.items():
        table = f"{field}_words"
        rows = database.execute(
            f"select {table}.rowid, -bm25({table}) from {table} {scope.joined(table)} "  # noqa: S608 - our own names
            f"where {table} match ? {scope.condition} order by {table}.rank limit ?",
            (f'"{word}"', *scope.values, DEPTH),
        )
        for unit, score in rows:
            scores[unit] = scores.get(unit, 0.0) + weight * factor * score
    return scores


def _pieces(database: sqlite3.Connection, part: str, scope: _Scope) -> dict[int, float]:
    """Names that hold `part` somewhere inside."""
    rows = database.execute(
        f"select pieces.rowid, -bm25(pieces) from pieces {scope.joined('pieces')} "  # noqa: S608 - our own names
        f"where pieces match ? {scope.condition} order by pieces.rank limit ?",
        (f'"{part}"', *scope.values, DEPTH),
    )
    return dict(rows.fetchall())


def _candidates(database: sqlite3.Connection, units: Sequence[int]) -> list[Candidate]:
    rows = database.execute(
        "select u.id, u.kind, u.name, u.test, f.path from json_each(?) given "
        "join units u on u.id = given.value join files f on f.id = u.file",
        (json.dumps(list(units)),),
    )
    return [Candidate(unit, kind, name, bool(test), path) for unit, kind, name, test, path in rows]


def _factor(one: Candidate, wanted: Wanted, names: set[str]) -> float:
    factor = EXACT_NAME if names and unified(one.name.rpartition(".")[2]) in names else 1.0
    if wanted != "any":
        return factor
    kind = KIND_FACTORS.get(one.kind, 1.0) * (TEST_FACTOR if one.test else 1.0)
    return factor * kind * FOLDER_FACTORS.get(one.path.partition("/")[0], 1.0)


def folder_below(root: Root, text: str) -> str:
    """The folder or file that a search is kept to, relative to the root; '' is all of it.

    Raises:
        RootError: it lies outside of the root.
    """
    path = root.relative(root.resolve(text)) if text else "."
    return "" if path == "." else path
