"""The last line of a plot: what it was drawn from, and its own digest.

So a plot can be checked, and left as it is where nothing changed, without drawing it again (another matplotlib version
would draw other bytes).
"""

from __future__ import annotations

import re

from agent_tools.handbook.blocks import text_digest

_STAMP = re.compile(r"\n<!-- plot inputs=(\S+) template=(\S+) body=(\S+) -->\n\Z")


def stamp(svg: str, inputs: str, template: str) -> str:
    """The SVG with its last line: what it was drawn from, and its own digest."""
    return f"{svg}\n<!-- plot inputs={inputs} template={template} body={text_digest(svg)} -->\n"


def is_current(text: str, inputs: str, template: str) -> bool:
    """Whether a stamped SVG is untouched and drawn from these inputs by this template."""
    found = _STAMP.search(text)
    return found is not None and found.groups() == (inputs, template, text_digest(text[: found.start()]))
