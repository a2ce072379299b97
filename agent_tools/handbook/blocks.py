"""Documents made of generated blocks and owned notes: reading, checking and joining them.

An owned document is one header line, then blocks with nothing but white space between them:

    <!-- OWNED document=findings record=records/ID.json; edit only the notes, ... -->
    <!-- BEGIN generated:NAME inputs=sha256:... template=v1 body=sha256:... -->text<!-- END generated:NAME -->
    <!-- BEGIN notes:NAME inputs=sha256:... body=sha256:... -->kept byte for byte<!-- END notes:NAME -->

`inputs` is the digest of the files that a block was made from. A note carries the inputs that its writer saw (`none`
while nobody has written) and its own digest at the last render, by which the next render knows that it was rewritten.
Standard library only: `scripts/collect_context.py` reads documents with this module where no environment exists.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import quote, unquote

from agent_tools.records.errors import WorkbenchError

BlockKind = Literal["generated", "notes"]

NUMBERS_CHANGED = (
    "> **Numbers changed since these notes were written.** Read them again; edit them, or delete `inputs=...` "
    "from their first marker to confirm them, and render.\n"
)
KEPT_NOTES = "kept-notes"
"""Name of the block that introduces notes whose place the template no longer has."""

_MARKER = re.compile(
    r"<!-- (?P<edge>BEGIN|END) (?P<kind>generated|notes):(?P<name>[a-z][a-z0-9_-]*)"
    r"(?P<attributes>(?: [a-z_]+=[^\s<>]+)*) -->"
)
_MARKER_LIKE = re.compile(r"<!--\s*(?:BEGIN|END)\b\s*(?:generated|notes)", re.IGNORECASE)
_HEADER = re.compile(r"<!-- OWNED document=(?P<document>[a-z_]+)(?P<values>(?: [a-z_]+=[^\s<>;]+)*); [^<>]*-->\n")


class DocumentError(WorkbenchError):
    """A document that cannot be rendered without losing somebody's words; names the file, the block and the way out."""


@dataclass(frozen=True)
class Block:
    """One marked stretch of a document. `body` is everything between the two markers, to the byte."""

    kind: BlockKind
    name: str
    attributes: Mapping[str, str]
    body: str

    @property
    def label(self) -> str:
        """The block as its markers name it, `generated:summary`."""
        return f"{self.kind}:{self.name}"

    @property
    def untouched(self) -> bool:
        """Whether the body still has the digest that the last render wrote into the marker."""
        return self.attributes.get("body") == text_digest(self.body)

    def text(self) -> str:
        """The block with its markers."""
        attributes = "".join(f" {key}={value}" for key, value in self.attributes.items())
        return f"<!-- BEGIN {self.label}{attributes} -->{self.body}<!-- END {self.label} -->"


@dataclass(frozen=True)
class Header:
    """What an owned document is made from; paths in `values` are relative to the document's folder."""

    document: str
    values: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The header line, without its line end."""
        values = "".join(f" {key}={quote(value, safe='/.-_')}" for key, value in self.values.items())
        rule = "edit only the notes, `agent-tools docs render` writes the rest"
        return f"<!-- OWNED document={self.document}{values}; {rule} -->"


@dataclass(frozen=True)
class Document:
    """An owned document, parsed."""

    header: Header
    blocks: tuple[Block, ...]

    def text(self) -> str:
        """The whole document; parsing it gives an equal `Document`."""
        return "\n\n".join([self.header.text(), *(block.text() for block in self.blocks)]) + "\n"

    def block(self, kind: BlockKind, name: str) -> Block | None:
        """The block of that kind and name, or None."""
        return next((block for block in self.blocks if (block.kind, block.name) == (kind, name)), None)


def text_digest(text: str) -> str:
    """`sha256:` and 64 hexadecimal digits of the UTF-8 bytes."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


def files_digest(paths: Iterable[Path], base: Path) -> str:
    """Digest of the names (relative to `base`) and bytes of some files, independent of their order."""
    lines = []
    for path in paths:
        name = Path(os.path.relpath(path, base)).as_posix()
        lines.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    return text_digest("".join(sorted(lines)))


def is_owned(text: str) -> bool:
    """Whether the text starts with a header line of this module."""
    return _HEADER.match(text) is not None


def read_text(path: Path) -> str:
    """The file's exact text: no translation of line ends.

    Raises:
        DocumentError: the bytes are not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{path.name} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): "
            "save it as UTF-8, or restore it with `git checkout`, then render again."
        ) from error


def parse_document(text: str, where: str) -> Document:
    """Parse an owned document; `where` names it in errors.

    Raises:
        DocumentError: not owned, a marker missing, doubled, nested or misspelt, or words outside every block.
    """
    header = _HEADER.match(text)
    if header is None:
        raise DocumentError(
            f"{where} is not owned: its first line is not an `<!-- OWNED document=... -->` header, so rendering would "
            "overwrite somebody's file. Move it away or give it another name, then render again."
        )
    values = dict(pair.split("=", 1) for pair in header["values"].split())
    return Document(
        Header(header["document"], {key: unquote(value) for key, value in values.items()}),
        parse_blocks(text[header.end() :], where),
    )


def parse_blocks(text: str, where: str) -> tuple[Block, ...]:
    """Parse text that consists of blocks with white space between them.

    Raises:
        DocumentError: a marker missing, doubled, nested or misspelt, or words outside every block.
    """
    markers = list(_MARKER.finditer(text))
    _refuse_misspelt(text, {marker.start() for marker in markers}, where)
    blocks: list[Block] = []
    end = 0
    for begin, close in _pairs(markers, where):
        _refuse_loose(text[end : begin.start()], where)
        attributes = dict(pair.split("=", 1) for pair in begin["attributes"].split())
        kind: BlockKind = "generated" if begin["kind"] == "generated" else "notes"
        block = Block(kind, begin["name"], attributes, text[begin.end() : close.start()])
        if any(other.label == block.label for other in blocks):
            raise DocumentError(f"{where}: block {block.label} is there twice. Keep one of the two, then render again.")
        blocks.append(block)
        end = close.end()
    _refuse_loose(text[end:], where)
    return tuple(blocks)


def _pairs(markers: Sequence[re.Match[str]], where: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    pairs: list[tuple[re.Match[str], re.Match[str]]] = []
    open_marker: re.Match[str] | None = None
    for marker in markers:
        label = f"{marker['kind']}:{marker['name']}"
        if marker["edge"] == "BEGIN":
            if open_marker is not None:
                _refuse_unclosed(open_marker, where, f"before {label} begins")
            open_marker = marker
            continue
        if open_marker is None:
            raise DocumentError(f"{where}: END {label} has no BEGIN before it. Put the marker back, then render again.")
        if label != f"{open_marker['kind']}:{open_marker['name']}":
            _refuse_unclosed(open_marker, where, f"before END {label}")
        pairs.append((open_marker, marker))
        open_marker = None
    if open_marker is not None:
        _refuse_unclosed(open_marker, where, "before the end of the file")
    return pairs


def _refuse_unclosed(marker: re.Match[str], where: str, place: str) -> NoReturn:
    label = f"{marker['kind']}:{marker['name']}"
    raise DocumentError(
        f"{where}: block {label} is not closed {place}. Blocks do not nest: put `<!-- END {label} -->` where the block "
        "ends (in a note, write `&lt;!--` for a marker that is only quoted), then render again."
    )


def _refuse_misspelt(text: str, known: set[int], where: str) -> None:
    for found in _MARKER_LIKE.finditer(text):
        if found.start() not in known:
            line = text.count("\n", 0, found.start()) + 1
            raise DocumentError(
                f"{where}: `{text[found.start() : found.start() + 40].splitlines()[0]}` (line {line} after the header) "
                "looks like a marker but is not one. Restore the marker, or write `&lt;!--` if it is only quoted, "
                "then render again."
            )


def _refuse_loose(text: str, where: str) -> None:
    words = text.strip()
    if words:
        raise DocumentError(
            f"{where}: `{words.splitlines()[0][:60]}` stands outside every block and would be lost. "
            "Move it between a BEGIN notes and an END notes marker, then render again."
        )


def refuse_edits(document: Document, where: str) -> None:
    """Raise if a generated block was changed by hand. A block emptied on purpose counts as a wish to have it again.

    Raises:
        DocumentError: a generated block whose bytes are not those that were rendered.
    """
    for block in document.blocks:
        if block.kind == "generated" and block.body.strip() and not block.untouched:
            raise DocumentError(
                f"{where}: block {block.label} was edited by hand. Move your words into a notes block, delete all text "
                "between the block's two markers (or undo the edit), and render again; nothing was written."
            )


def assemble(
    skeleton: Sequence[Block], previous: Document | None, inputs: Mapping[str, str], template: str, where: str
) -> tuple[Block, ...]:
    """Stamp freshly rendered blocks and put the previous document's notes back into them.

    Args:
        skeleton: blocks as the template gives them; a generated one may say `uses=KEY`, a key of `inputs`.
        previous: the document on disk, if any.
        inputs: digest per group of inputs; `all` is what a block uses unless it says otherwise.
        template: the template's version, such as `v1`.
        where: the document's name in errors.

    Returns:
        The new blocks. Written notes that the template has no place for follow at the end, under a heading.

    Raises:
        DocumentError: a generated block edited by hand, or a block of the same template version gone.
    """
    if previous is not None:
        refuse_edits(previous, where)
        _refuse_missing(skeleton, previous, template, where)
    seen = _seen_inputs(previous)
    result: list[Block] = []
    for block in skeleton:
        if block.kind == "generated":
            result.append(_stamp(block, inputs[block.attributes.get("uses", "all")], template))
            continue
        note = _carry(block, previous, seen)
        if result and note.attributes["inputs"] not in {"none", result[-1].attributes["inputs"]}:
            result[-1] = _with_warning(result[-1])
        result.append(note)
    return (*result, *_orphaned_notes(skeleton, previous, seen, inputs["all"], template))


def _stamp(block: Block, inputs: str, template: str) -> Block:
    return replace(block, attributes={"inputs": inputs, "template": template, "body": text_digest(block.body)})


def _with_warning(block: Block) -> Block:
    body = block.body + "\n" + NUMBERS_CHANGED
    return replace(block, body=body, attributes={**block.attributes, "body": text_digest(body)})


def _seen_inputs(previous: Document | None) -> dict[str, str]:
    """Per note, the inputs of the generated block above it: what its writer had before their eyes."""
    seen: dict[str, str] = {}
    above = "none"
    for block in previous.blocks if previous else ():
        if block.kind == "generated":
            above = block.attributes.get("inputs", "none")
        else:
            seen[block.name] = above
    return seen


def _carry(block: Block, previous: Document | None, seen: Mapping[str, str]) -> Block:
    old = previous.block("notes", block.name) if previous else None
    if old is None:
        return replace(block, attributes={"inputs": "none", "body": text_digest(block.body)})
    if old.untouched and "inputs" in old.attributes:
        return old
    return replace(old, attributes={"inputs": seen[block.name], "body": text_digest(old.body)})


def _orphaned_notes(
    skeleton: Sequence[Block], previous: Document | None, seen: Mapping[str, str], inputs: str, template: str
) -> tuple[Block, ...]:
    places = {block.name for block in skeleton if block.kind == "notes"}
    notes = [
        _carry(block, previous, seen)
        for block in (previous.blocks if previous else ())
        if block.kind == "notes" and block.name not in places
    ]
    written = [note for note in notes if note.attributes["inputs"] != "none"]
    if not written:
        return ()
    heading = Block("generated", KEPT_NOTES, {}, "\n## Notes kept from an earlier template\n")
    return (_stamp(heading, inputs, template), *written)


def _refuse_missing(skeleton: Sequence[Block], previous: Document, template: str, where: str) -> None:
    """A block may be new with a new template; under the same template it can only have been deleted."""
    versions = {block.attributes.get("template") for block in previous.blocks if block.kind == "generated"}
    if versions - {template, None}:
        return
    for block in skeleton:
        if previous.block(block.kind, block.name) is None:
            raise DocumentError(
                f"{where}: block {block.label} is missing. Put `<!-- BEGIN {block.label} -->` and "
                f"`<!-- END {block.label} -->` back (empty is enough), or delete the file if none of its notes "
                "matters, and render again; nothing was written."
            )
