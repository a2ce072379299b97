"""How well the code search answers questions: `python -m benchmarks.search_quality [--python PATH] [--verbose]`.

`search_queries.json` holds questions as a newcomer asks them, written before there was an index to look at, with the
answers that count (`path::qualified name`; `path::` is anything in that file). Every second question was used to choose
the weights of the ranking (`tuning`), the others only to judge it (`held_out`). Per half: `recall_at_5`, the share of
questions with a right answer among the first five, and `mrr_at_10`, the mean of one over the rank of the first right
answer, 0 below rank ten.

With `--python`, an interpreter that has the package wordllama (static word vectors, its weights inside of the wheel),
the same units are ranked by the similarity of their vectors as well, and by both rankings joined (reciprocal rank
fusion, Cormack et al. 2009). Embeddings become a dependency where they win on the held-out half by `MARGIN` at least;
the line says so as `embedding_wins`, 1 or 0. They do not win, so no embedding is a dependency.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from agent_tools.workspace.files.listing import list_files
from agent_tools.workspace.root import Root
from agent_tools.workspace.search import database as store
from agent_tools.workspace.search.code_units import is_test, units_of
from agent_tools.workspace.search.index import MOST_BYTES, refresh
from agent_tools.workspace.search.ranking import ranked
from agent_tools.workspace.search.words import split_identifier

ROOT = Path(__file__).resolve().parent.parent
QUERIES = Path(__file__).with_name("search_queries.json")

HALVES = ("tuning", "held_out")
DEPTH = 100
"""Answers looked at per question."""

FUSION_CONSTANT = 60
"""Of reciprocal rank fusion, as in the paper."""

MARGIN = 0.1
"""Recall at 5 that embeddings have to gain: about three of the held-out questions, for 33 MB and a slower start."""

TEXT_CHARACTERS = 400

Answer = tuple[str, str]
"""Path and qualified name of a unit."""


@dataclass(frozen=True)
class Question:
    """A question, the half it belongs to, and the answers that count."""

    query: str
    half: str
    accepted: tuple[str, ...]

    def is_answered_by(self, answer: Answer) -> bool:
        """Whether a unit is one of the answers."""
        return f"{answer[0]}::" in self.accepted or "::".join(answer) in self.accepted

    def rank(self, answers: Iterable[Answer]) -> int:
        """Return the place of the first right answer, counted from 1; 0 where there is none."""
        return next((place for place, answer in enumerate(answers, 1) if self.is_answered_by(answer)), 0)


def read_questions() -> list[Question]:
    """Read the shipped questions."""
    rows = json.loads(QUERIES.read_text(encoding="utf-8"))
    return [Question(row["query"], row["half"], tuple(row["accepted"])) for row in rows]


def recall_at_5(ranks: Sequence[int]) -> float:
    """Return the share of questions whose first right answer is among the first five."""
    return sum(0 < rank <= 5 for rank in ranks) / len(ranks)


def mrr_at_10(ranks: Sequence[int]) -> float:
    """Return the mean of one over the rank, 0 for what is not among the first ten."""
    return sum(1 / rank for rank in ranks if 0 < rank <= 10) / len(ranks)


def searched(root: Root, questions: Sequence[Question]) -> list[list[Answer]]:
    """Return what the search answers to each question, best first."""
    anyio.run(refresh, root)
    with store.opened(store.index_path(root)) as database:
        # One picture for all questions, whoever else refreshes the index meanwhile.
        database.execute("begin")
        rows = database.execute("select u.id, f.path, u.name from units u join files f on f.id = u.file")
        answers = {unit: (path, name) for unit, path, name in rows}
        return [
            [answers[hit.unit] for hit in ranked(database, question.query, "any", "", DEPTH)] for question in questions
        ]


def embedded(root: Root, questions: Sequence[Question], python: Path) -> list[list[Answer]]:
    """Return the units by the similarity of their vectors to each question's, computed by another interpreter."""
    listing = anyio.run(list_files, root)
    answers: list[Answer] = []
    texts: list[str] = []
    for path in listing.paths:
        file = root.path / path
        if is_test(path) or path.startswith("logs/") or not file.is_file() or file.stat().st_size > MOST_BYTES:
            continue
        for unit in units_of(path, file.read_text("utf-8", "replace")).units:
            name = " ".join(split_identifier(unit.name or Path(path).stem))
            answers.append((path, unit.name))
            texts.append(". ".join(filter(None, [name, unit.says, unit.owner]))[:TEXT_CHARACTERS])
    task = json.dumps({"texts": texts, "queries": [question.query for question in questions], "depth": DEPTH})
    command = [str(python), str(Path(__file__).with_name("search_vectors.py"))]
    done = subprocess.run(command, input=task, capture_output=True, text=True, check=True)
    return [[answers[place] for place in row] for row in json.loads(done.stdout)]


def fused(first: Sequence[Answer], second: Sequence[Answer]) -> list[Answer]:
    """Join two rankings: the sum of one over (constant + rank)."""
    scores: dict[Answer, float] = {}
    for answers in (first, second):
        for rank, answer in enumerate(dict.fromkeys(answers), 1):
            scores[answer] = scores.get(answer, 0.0) + 1 / (FUSION_CONSTANT + rank)
    return sorted(scores, key=lambda answer: -scores[answer])


def figures(questions: Sequence[Question], answers: Sequence[Sequence[Answer]], before: str = "") -> dict[str, float]:
    """Return the figures of both halves, under names that begin with `before`."""
    found: dict[str, float] = {}
    for half in HALVES:
        pairs = zip(questions, answers, strict=True)
        ranks = [question.rank(given) for question, given in pairs if question.half == half]
        found |= {f"{before}{half}_recall_at_5": recall_at_5(ranks), f"{before}{half}_mrr_at_10": mrr_at_10(ranks)}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures as one JSON line; with `--verbose` the rank of every question before it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="interpreter of an environment with wordllama")
    parser.add_argument("--verbose", action="store_true", help="also the rank of every question")
    given = parser.parse_args(arguments)
    root, questions = Root.at(ROOT), read_questions()
    answers = searched(root, questions)
    line: dict[str, Any] = {"questions": len(questions), **figures(questions, answers)}
    if given.verbose:
        for question, found in zip(questions, answers, strict=True):
            sys.stdout.write(f"{question.rank(found):4} {question.half:9} {question.query}\n")
    if given.python is not None:
        vectors = embedded(root, questions, given.python)
        joined = [fused(*pair) for pair in zip(answers, vectors, strict=True)]
        line |= figures(questions, vectors, "embedding_") | figures(questions, joined, "fusion_")
        best = max(line["embedding_held_out_recall_at_5"], line["fusion_held_out_recall_at_5"])
        line["embedding_wins"] = int(best - line["held_out_recall_at_5"] >= MARGIN)
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
