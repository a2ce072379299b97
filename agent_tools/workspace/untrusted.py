"""Text that others wrote (a repository, a program's output): shown as it is, with nothing hidden and no secrets."""

from __future__ import annotations

import os
import re
import unicodedata

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_PLAIN = frozenset("\n\t")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_SECRETS = re.compile(
    r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bhf_[A-Za-z0-9]{20,}\b"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[0-9A-Za-z_-]{35}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r"|(?P<url>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)"
)


def show_invisible(text: str) -> str:
    """Write every character that has no visible form as `<U+202E>`; newline, tab and space stay."""
    if text.isascii() and not _CONTROL.search(text):
        return text
    return "".join(f"<U+{ord(c):04X}>" if _is_hidden(c) else c for c in text)


def mask_secrets(text: str) -> str:
    """Replace what has the form of a well-known credential (keys, tokens, passwords in URLs) by `<secret masked>`."""
    return _SECRETS.sub(_masked, text)


def shown(data: bytes | str) -> str:
    r"""Decode and clean untrusted text for a result: nothing invisible, no secrets; bytes outside UTF-8 as `\xNN`."""
    text = data if isinstance(data, str) else data.decode("utf-8", errors="backslashreplace")
    return show_invisible(mask_secrets(text.replace("\r\n", "\n")))


def shown_name(name: str) -> str:
    """Clean a file's name for one line of a result; bytes outside UTF-8 (surrogates in `name`) as `\\xNN`."""
    return shown(os.fsencode(name)).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def invisible_in(text: str) -> list[str]:
    """Name the characters of an exact text that have no visible form, each once: `U+202E`; CRLF is a line end."""
    if text.isascii() and not _CONTROL.search(text.replace("\r\n", "\n")):
        return []
    return list(dict.fromkeys(f"U+{ord(c):04X}" for c in text.replace("\r\n", "\n") if _is_hidden(c)))


def secret_places(text: str) -> list[int]:
    """Where in an exact text something has the form of a well-known credential: offsets of their starts."""
    return [match.start() for match in _SECRETS.finditer(text)]


def _is_hidden(character: str) -> bool:
    if character in _PLAIN or " " <= character <= "~":
        return False
    code = ord(character)
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    odd_space = unicodedata.category(character) == "Zs"
    return selector or odd_space or character in _BLANK_LETTERS or unicodedata.category(character) in _HIDDEN_CATEGORIES


def _masked(match: re.Match[str]) -> str:
    return f"{match['keep'] or match['url'] or ''}<secret masked>"
