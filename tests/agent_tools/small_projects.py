"""Parts of small projects that several tests work in."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTEXT_SCRIPT = (
    "agent_tools/__init__.py",
    "agent_tools/records/__init__.py",
    "agent_tools/records/errors.py",
    "agent_tools/handbook/__init__.py",
    "agent_tools/handbook/blocks.py",
    "agent_tools/handbook/inputs.py",
    "scripts/collect_context.sh",
    "scripts/collect_context.py",
)
"""What `collect_context.sh` needs in the project that it describes."""
TESTED_VALUE = {
    "value.py": "VALUE = 3\n",
    "test_value.py": "from value import VALUE\n\n\ndef test_value():\n    assert VALUE == 3\n",
    "pytest.ini": "[pytest]\npythonpath = .\n",
    ".gitignore": "outputs/\n__pycache__/\n",
}
"""A module, its test, and what both need: file -> text."""


def copy_context_script(folder: Path) -> None:
    """Put the script of the context, and what it imports, into a project."""
    for name in CONTEXT_SCRIPT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)


def write_tested_value(folder: Path) -> None:
    """Write a module with a value and a test that passes while the value is three."""
    for name, text in TESTED_VALUE.items():
        (folder / name).write_text(text)
