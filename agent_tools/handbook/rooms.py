"""The rooms of the house and what they import, read from the code, and the way of a sample through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_tools.handbook.python_source import Source, find_module, first_paragraph, imported_modules, read_source

PACKAGES = ("runners", "ocr", "agent_tools")


@dataclass(frozen=True)
class Step:
    """One step of a sample from its file to its score: what is done, and the files that do it."""

    title: str
    does: str
    files: tuple[str, ...]


STEPS: tuple[Step, ...] = (
    Step(
        "Decode",
        "The label file decides which images belong to a split, and every image is checked once per content. The "
        "tensor tier is asked first, then the image tier, then the decoder; what was missing is written to its slot.",
        (
            "ocr/datasets/annotations.py",
            "ocr/datasets/split.py",
            "ocr/utils/image_loading.py",
            "ocr/utils/orientation.py",
            "ocr/datasets/tiers.py",
            "ocr/utils/cache_manager.py",
        ),
    ),
    Step(
        "Transform",
        "The picture is fitted into the network's input, and the 3x3 matrix that did it goes with the sample. What a "
        "deterministic transform made is kept in the tensor tier.",
        ("ocr/datasets/base.py", "ocr/datasets/transforms.py", "ocr/datasets/buckets.py"),
    ),
    Step(
        "Target",
        "Where a loss is asked for, the polygons become shrink and threshold maps, kept in the map tier.",
        ("ocr/datasets/targets.py", "ocr/utils/polygons.py"),
    ),
    Step(
        "Collate",
        "Samples of one shape are copied once, into one uint8 batch in the order that convolutions read.",
        ("ocr/datasets/collate.py", "ocr/lightning_modules/data_pl.py"),
    ),
    Step(
        "Forward and loss",
        "The batch is normalised on the device. The threshold branch is computed only where a loss is asked for.",
        ("ocr/lightning_modules/ocr_pl.py", "ocr/models/architecture.py", "ocr/models/loss.py"),
    ),
    Step(
        "Post-process and score",
        "Components of the map are scored, their edges placed below the pixel, the shrink undone exactly, and the "
        "inverse of the matrix leads back to original pixels. Both metrics count per image; counts are pooled by name, "
        "so sharding and padding change nothing.",
        (
            "ocr/models/postprocess.py",
            "ocr/metrics/icdar.py",
            "ocr/metrics/cleval.py",
            "ocr/lightning_modules/run_file.py",
        ),
    ),
)
"""A sample's way, in order."""


def read_rooms(root: Path) -> dict[str, Any]:
    """The rooms with what they import, and the steps with what each of their files says of itself.

    A room is a package inside of one of `PACKAGES`, or a module that lies beside those packages. How often a room is
    imported is not said: the page would be stale after almost every edit.

    Raises:
        DocumentError: a file that a step names is gone, or a file is not Python.
    """
    sources = {source.name: source for source in _all_sources(root)}
    rooms = {name: _room(name, root) for name in sources if name not in PACKAGES}
    imports = _imports(sources, rooms)
    return {
        "rooms": [
            {"name": name, "says": _says(name, root), "imports": sorted(imports[name])} for name in sorted(imports)
        ],
        "steps": [_step(step, root) for step in STEPS],
    }


def _all_sources(root: Path) -> list[Source]:
    paths = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return [read_source(path, root) for path in sorted(paths)]


def _room(module: str, root: Path) -> str:
    room = ".".join(module.split(".")[:2])
    return room if find_module(room, root) is not None else module


def _imports(sources: dict[str, Source], rooms: dict[str, str]) -> dict[str, set[str]]:
    """Room -> the other rooms that its modules import."""
    known = frozenset(sources)
    found: dict[str, set[str]] = {room: set() for room in rooms.values()}
    for name, source in sources.items():
        if name in rooms:
            imported = {rooms[module] for module in imported_modules(source, known) if module in rooms}
            found[rooms[name]] |= imported - {rooms[name]}
    return found


def _says(name: str, root: Path) -> str:
    path = find_module(name, root)
    return first_paragraph(read_source(path, root).tree) if path is not None else ""


def _step(step: Step, root: Path) -> dict[str, Any]:
    files = [{"path": name, "says": first_paragraph(read_source(root / name, root).tree)} for name in step.files]
    return {"title": step.title, "does": step.does, "files": files}
