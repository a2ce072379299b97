"""What goes into a pack, in which order, and how much of it: the most telling files first, under a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from pathlib import PurePath

CHARACTERS_PER_TOKEN = 4
"""No model's tokenizer is at hand offline; English text and code come to about this, most others to fewer."""

LEAST_TOKENS = 60
"""With less room left no further file is looked at."""

_ENTRIES = (
    *("README*", "AGENTS.md", "CLAUDE.md", "CONTRIBUTING*", "Makefile", "Dockerfile"),
    *("pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod"),
    *("__main__.py", "main.py", "cli.py", "app.py", "train.py", "index.ts", "index.js", "main.go", "main.rs"),
)
_CODE = frozenset(
    (
        *(".py", ".pyi", ".ipynb", ".sh", ".sql", ".yaml", ".yml", ".js", ".jsx", ".ts", ".tsx"),
        *(".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rs", ".go", ".java", ".kt", ".swift", ".rb"),
    )
)
_DOCUMENTS = frozenset({".md", ".rst", ".txt", ".toml", ".j2", ".html", ".css", ".cfg", ".ini"})
_SECRET_NAMES = (
    *(".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.keystore", "id_rsa*", "id_ed25519*", "id_ecdsa*"),
    *(".netrc", ".npmrc", ".pypirc", ".pgpass", "credentials", "credentials.*", "secrets.*", "*.kdbx"),
)


class Rank(IntEnum):
    """Why a file is in the pack, most telling first."""

    NAMED = 0
    CHANGED = 1
    ENTRY = 2
    CODE = 3
    DOCUMENT = 4
    TEST = 5
    OTHER = 6


@dataclass(frozen=True)
class Candidate:
    """A file that may be packed: its path below the root, its size in bytes, and why."""

    path: str
    size: int
    rank: Rank


@dataclass(frozen=True)
class Packed:
    """A file as it stands in the pack; `text` is the whole section."""

    path: str
    text: str
    is_whole: bool


@dataclass(frozen=True)
class Plan:
    """What was decided: sections in order, and the files left out with why ('' for no room)."""

    packed: list[Packed]
    left_out: list[tuple[Candidate, str]]


def tokens_of(text: str) -> int:
    """Return how many tokens a text counts for."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def rank(path: str) -> Rank:
    """Say how much a file tells that nobody named."""
    name, parts = PurePath(path).name, PurePath(path).parts
    if any(fnmatchcase(name, pattern) for pattern in _ENTRIES):
        return Rank.ENTRY
    if "tests" in parts[:-1] or "test" in parts[:-1] or name.startswith("test_"):
        return Rank.TEST
    suffix = PurePath(path).suffix
    return Rank.CODE if suffix in _CODE else Rank.DOCUMENT if suffix in _DOCUMENTS else Rank.OTHER


def holds_secrets(path: str) -> bool:
    """Tell by its name whether a file is there to hold credentials: it is packed only if somebody names it."""
    return any(fnmatchcase(PurePath(path).name, pattern) for pattern in _SECRET_NAMES)


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by what they tell: named ones as they were named, others shallow ones first."""
    named = {candidate: place for place, candidate in enumerate(candidates)}
    return sorted(named, key=lambda one: _key(one, named[one]))


def _key(candidate: Candidate, place: int) -> tuple[int, int, str]:
    if candidate.rank is Rank.NAMED:
        return candidate.rank, place, ""
    return candidate.rank, candidate.path.count("/"), candidate.path


@dataclass(frozen=True)
class Section:
    """A file as text of the pack.

    Attributes:
        whole: all of it.
        outline: makes a shorter form; '' where there is none.
        reason: why it has no text, such as `binary`; '' if it has.
    """

    whole: str = ""
    outline: Callable[[], str] = str
    reason: str = ""


Sections = Callable[[Candidate], Section]


def plan(candidates: list[Candidate], budget: int, sections: Sections) -> Plan:
    """Decide what a budget of tokens is spent on.

    If all fits, all is whole. Otherwise what was named, changed or is an entry point comes whole while there is room;
    then every other Python file as an outline; then outlines become whole, and the rest is taken, while there is room.
    """
    spending = _Spending(budget, sections)
    if sum(candidate.size // CHARACTERS_PER_TOKEN + 20 for candidate in candidates) <= budget:
        spending.take(candidates, outlines_first=False)
    else:
        spending.take([one for one in candidates if one.rank <= Rank.ENTRY], outlines_first=False)
        spending.take([one for one in candidates if one.rank is Rank.CODE], outlines_first=True)
        spending.complete(candidates)
        spending.take([one for one in candidates if one.rank > Rank.CODE], outlines_first=True)
    packed = [spending.packed[one.path] for one in candidates if one.path in spending.packed]
    left_out = [(one, spending.reasons.get(one.path, "")) for one in candidates if one.path not in spending.packed]
    return Plan(packed, left_out)


class _Spending:
    """A budget while it is spent."""

    def __init__(self, budget: int, sections: Sections) -> None:
        self.left, self.sections = budget, sections
        self.packed: dict[str, Packed] = {}
        self.reasons: dict[str, str] = {}
        self._whole_later: dict[str, str] = {}

    def take(self, candidates: list[Candidate], outlines_first: bool) -> None:
        """Take each file that fits, in order: whole, or as an outline where that is wanted or is all that fits."""
        for candidate in candidates:
            if self.left < LEAST_TOKENS:
                return
            section = self.sections(candidate)
            if section.reason:
                self.reasons[candidate.path] = section.reason
            elif outlines_first and self._take_outline(candidate.path, section):
                continue
            elif self._spend(tokens_of(section.whole)):
                self.packed[candidate.path] = Packed(candidate.path, section.whole, True)
            elif not outlines_first:
                self._take_outline(candidate.path, section)

    def _take_outline(self, path: str, section: Section) -> bool:
        short = section.outline()
        if not short or not self._spend(tokens_of(short)):
            return False
        self.packed[path] = Packed(path, short, False)
        self._whole_later[path] = section.whole
        return True

    def complete(self, candidates: list[Candidate]) -> None:
        """Replace outlines by whole files, in order, while there is room."""
        for candidate in candidates:
            whole = self._whole_later.get(candidate.path)
            if whole and self._spend(tokens_of(whole) - tokens_of(self.packed[candidate.path].text)):
                self.packed[candidate.path] = Packed(candidate.path, whole, True)

    def _spend(self, tokens: int) -> bool:
        if tokens > self.left:
            return False
        self.left -= tokens
        return True
