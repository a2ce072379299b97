"""What an engine itself would fetch to build a Dockerfile, whatever network its steps have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_COMMENT = re.compile(r"^[ \t]*#.*\n?", re.MULTILINE)
_CONTINUED = re.compile(r"[\\`][ \t]*\r?\n")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}$]*))?\}|(\w+))")
_FLAG = re.compile(r"--(\w+)=(\S+)\s*")


def fetched(dockerfile: str, arguments: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the images that a Dockerfile starts from or copies from, and the sources of ADD that are no local path.

    Args:
        dockerfile: its text.
        arguments: values for ARG, as given to the build.

    A source of ADD with a variable counts as remote: a base image can set it to anything.
    """
    images: list[str] = []
    sources: list[str] = []
    stages = {"scratch"}
    known: dict[str, str] = {}
    for word, rest in _instructions(dockerfile):
        flags, words = _split(rest)
        if word == "ARG" and stages == {"scratch"} and not images:
            known |= _arguments(words, arguments)
        elif word == "FROM" and words:
            images.append(_expanded(words[0], known))
            stages |= {words[2].lower()} if len(words) > 2 else set()
        elif word == "COPY" and not flags.get("from", "0").isdigit():
            images.append(flags["from"])
        elif word == "ADD":
            sources += [source for source in words[:-1] if _is_remote(source)]
    return [image for image in images if image.lower() not in stages], sources


def _arguments(words: list[str], given: Mapping[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words)
    return {name: given.get(name, default.strip("\"'")) for name, _, default in pairs}


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    for line in _CONTINUED.sub(" ", _COMMENT.sub("", dockerfile)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "ONBUILD":
            word, _, rest = rest.strip().partition(" ")
        if word:
            yield word.upper(), rest


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return known.get(name) or (match[2] if match[2] is not None else match[0])

    return _VARIABLE.sub(value, text)


def _split(text: str) -> tuple[dict[str, str], list[str]]:
    text = text.strip()
    flags = {}
    while flag := _FLAG.match(text):
        flags[flag[1].lower()] = flag[2].strip("\"'")
        text = text[flag.end() :]
    words = re.findall(r'"([^"]*)"', text) if text.startswith("[") else text.split()
    return flags, [word.strip("\"'") for word in words]


def _is_remote(source: str) -> bool:
    return "://" in source or source.startswith("git@") or "$" in source
