"""One sentence for what went wrong in a configuration, whoever noticed: Hydra, pydantic or the trainer itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from ocr.utils.errors import OCRError, nearest


def explain(error: BaseException, known_keys: Mapping[str, Any]) -> str | None:
    """Return a sentence for an expected error, or None for one that nobody expected.

    Args:
        error: what was raised; its causes are searched for the first error of ours.
        known_keys: the composed configuration without overrides, for naming the nearest key.
    """
    for cause in _causes(error):
        if isinstance(cause, OCRError):
            return str(cause)
        if isinstance(cause, ValidationError):
            return _of_pydantic(cause)
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, ValueError | TypeError):
        return " ".join(str(error.__cause__).split())
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _of_hydra(error, known_keys)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_pydantic(error: ValidationError) -> str:
    parts = [
        f"{error.title}.{'.'.join(str(part) for part in item['loc'])}={item['input']!r}: {item['msg'].lower()}"
        for item in error.errors()
    ]
    return "; ".join(parts) + "; correct the value in the configuration or on the command line"


def _of_hydra(error: Exception, known_keys: Mapping[str, Any]) -> str:
    text = " ".join(str(error).split())
    override = re.search(r"Could not override '([^']+)'", text)
    if override is None:
        return f"{text}; `python -m runners.train --cfg job` shows the configuration"
    key = override.group(1).lstrip("+~")
    flat = set(_flat(known_keys))
    return (
        f"unknown configuration key {key!r}{nearest(key, flat)}; "
        "`python -m runners.train --cfg job` lists the keys that exist"
    )


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
