"""What hand-written pages name: files, links, commands and make targets, each of which has to exist.

Generated blocks cannot be wrong about these; what people write can, as soon as somebody renames a file. Read are the
README, the agents' rules and every page of the handbook outside of its plans (which name files that are yet to be) and
outside of generated blocks. Placeholders such as `logs/DATE_NAME/` name nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from agent_tools.handbook.blocks import DocumentError, is_owned, parse_document, read_text

PAGES_OF_PEOPLE = ("README.md", "AGENTS.md", "docs/ai_handbook/**/*.md")
PLANS = "07_planning/plans/"

_FENCE = re.compile(r"^ {0,3}(?P<fence>```+|~~~+).*?^ {0,3}(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"!?\[(?:[^\[\]\\]|\\.)*\]\(([^()\s]+)\)")
_PATH = re.compile(r"[\w.@-]+(?:/[\w.@-]+)+/?")
_PLACEHOLDER = re.compile(r"[A-Z]{3,}|\.\.\.")
_COMMAND = re.compile(r"\bagent-tools ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")
_TARGET = re.compile(r"(?:^|[`;&] ?|^ *)make ((?:[a-z][\w-]*)(?: [a-z][\w-]*)*)", re.MULTILINE)
_MAKE_RULE = re.compile(r"^([a-z][\w-]*):(?!=)", re.MULTILINE)


@dataclass(frozen=True)
class Dangling:
    """Something that a page names and that is not there; `message` says what, and the nearest thing that is."""

    path: str
    message: str


@dataclass(frozen=True)
class Named:
    """Looks up what pages of a repository name.

    Attributes:
        root: the repository.
        commands: `noun verb` of every command, such as `docs check`; none: commands are not looked up.
    """

    root: Path
    commands: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def targets(self) -> frozenset[str]:
        """Targets of the Makefile; none where there is none."""
        makefile = self.root / "Makefile"
        return frozenset(_MAKE_RULE.findall(read_text(makefile))) if makefile.is_file() else frozenset()

    @cached_property
    def top(self) -> frozenset[str]:
        """Names of the folders at the repository's top: what starts with one of them is meant as a path."""
        return frozenset(entry.name for entry in self.root.iterdir() if entry.is_dir())

    def dangling(self, path: Path) -> list[Dangling]:
        """What one page names in vain."""
        where = path.relative_to(self.root).as_posix()
        return [Dangling(where, message) for message in dict.fromkeys(self._complaints(path))]

    def _complaints(self, path: Path) -> Iterator[str]:
        for text in written_by_people(path):
            fenced = [found.group() for found in _FENCE.finditer(text)]
            prose = _FENCE.sub("", text)
            yield from self._links(_CODE.sub("", prose), path)
            code = _CODE.findall(prose)
            yield from self._paths(code)
            yield from self._commands([*code, *fenced])
            yield from self._make([*(f"`{one}" for one in code), *fenced])

    def _links(self, text: str, path: Path) -> Iterator[str]:
        for target in _LINK.findall(text):
            file = unquote(target.partition("#")[0])
            if file and "://" not in file and not file.startswith("mailto:") and not (path.parent / file).exists():
                yield f"the link to {file} leads nowhere"

    def _paths(self, code: Iterable[str]) -> Iterator[str]:
        for text in code:
            if not _PATH.fullmatch(text) or _PLACEHOLDER.search(text) or text.split("/")[0] not in self.top:
                continue
            if not (self.root / text).exists() and not self._ignored(text):
                yield f"`{text}` does not exist{self._nearest_file(text)}"

    @staticmethod
    def _ignored(text: str) -> bool:
        """What is made at run time is named in pages and need not be there."""
        return text.startswith(("outputs/", ".venv/", "logs/"))

    def _nearest_file(self, text: str) -> str:
        folder = self.root / PurePosixPath(text).parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(PurePosixPath(text).name, names, n=1)
        return f"; nearest: `{(PurePosixPath(text).parent / near[0]).as_posix()}`" if near else ""

    def _commands(self, code: Iterable[str]) -> Iterator[str]:
        if not self.commands:
            return
        nouns = {command.partition(" ")[0] for command in self.commands}
        for words in (words for text in code for words in _COMMAND.findall(text)):
            noun = words.partition(" ")[0]
            if words in self.commands or noun in self.commands or (noun == words and noun in nouns):
                continue
            near = difflib.get_close_matches(words, self.commands, n=1)
            yield f"`agent-tools {words}` is no command{f'; nearest: `agent-tools {near[0]}`' if near else ''}"

    def _make(self, code: Iterable[str]) -> Iterator[str]:
        if not self.targets:
            return
        for target in (target for text in code for found in _TARGET.findall(text) for target in found.split()):
            if target not in self.targets:
                yield f"`make {target}` is no target; there are {', '.join(sorted(self.targets))}"


def written_by_people(path: Path) -> list[str]:
    """The stretches of a page that people wrote: all of it, or the notes of a page with generated blocks.

    Raises:
        DocumentError: a page with generated blocks that cannot be parsed.
    """
    text = read_text(path)
    if not is_owned(text):
        return [text]
    return [block.body for block in parse_document(text, path.name).blocks if block.kind == "notes"]


def pages_of_people(root: Path) -> list[Path]:
    """The pages that are looked at, by path."""
    found = {path for pattern in PAGES_OF_PEOPLE for path in root.glob(pattern) if path.is_file()}
    return sorted(path for path in found if PLANS not in path.as_posix())


def dangling_names(root: Path, commands: Sequence[str] = ()) -> list[Dangling]:
    """Everything that the pages of a repository name and that is not there; none when all is well.

    Args:
        root: the repository.
        commands: `noun verb` of every command; without any, commands are not looked up.
    """
    named = Named(root, frozenset(commands))
    return [one for page in pages_of_people(root) if _readable(page) for one in named.dangling(page)]


def _readable(page: Path) -> bool:
    """Whether a page can be read; the documents check says of one that cannot why."""
    try:
        written_by_people(page)
    except DocumentError:
        return False
    return True
