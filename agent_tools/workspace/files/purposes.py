"""What a file says of itself in one line: a docstring's first sentence, a title, or the comment that it starts with."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import PurePath

MOST_CHARACTERS = 140

_COMMENTED = frozenset({".yaml", ".yml", ".toml", ".sh", ".cfg", ".ini", ".mk", ".r", ".jl", "Makefile", "Dockerfile"})
_TITLE = re.compile(r"^# +(.+?) *#*$", re.MULTILINE)
_COMMENT = re.compile(r"\A(?:#!.*\n)?(?:#?[ \t]*\n)*#+[ \t]*(\S.*)")
_BEFORE_DOCSTRING = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING})
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")


def purpose(name: str, text: str) -> str:
    """Return what the text of a file says of it; '' where it says nothing."""
    path = PurePath(name)
    if path.suffix == ".py":
        said = _docstring(text)
    elif path.suffix in (".md", ".markdown"):
        found = _TITLE.search(text)
        said = found[1] if found else ""
    elif path.suffix in _COMMENTED or path.name in _COMMENTED:
        found = _COMMENT.match(text)
        said = found[1] if found else ""
    else:
        return ""
    sentence = _SENTENCE_END.split(" ".join(said.partition("\n\n")[0].split()), maxsplit=1)[0]
    return sentence if len(sentence) <= MOST_CHARACTERS else f"{sentence[: MOST_CHARACTERS - 3]}..."


def _docstring(text: str) -> str:
    """The docstring of a module, found without parsing what follows it."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                value = ast.literal_eval(token.string)
                return value.strip() if isinstance(value, str) else ""
            if token.type not in _BEFORE_DOCSTRING:
                return ""
    except (tokenize.TokenError, SyntaxError, ValueError):
        return ""
    return ""
