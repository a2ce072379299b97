"""What was measured on what: machine and content as short comparable values, and the removal of private text."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from agent_tools.records.errors import WorkbenchError
from agent_tools.records.schema import Machine

KEY_LIBRARIES = ("torch", "numpy", "opencv-python-headless", "PyTurboJPEG", "albumentations", "pytorch-lightning")
"""Distributions whose version changes what a timing means; they are part of the machine key."""

TIMING_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_NUM_THREADS",
)
"""Environment variables that change timings; `environment` keeps those that are set."""


class FingerprintError(WorkbenchError):
    """The machine or the tree could not be described."""


# --- content -----------------------------------------------------------------------------------------------------


def text_sha256(text: str | bytes) -> str:
    """Return the SHA-256 of a text (UTF-8) or of bytes, 64 hex digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits.

    Raises:
        FingerprintError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FingerprintError(f"{path.name} cannot be hashed ({error.strerror}); check the path.") from error


def folder_sha256(path: Path) -> tuple[int, str]:
    """Return how many files a file or folder holds, and one SHA-256 over their relative names and bytes.

    Raises:
        FingerprintError: the path does not exist, or a file in it cannot be read.
    """
    if not path.exists():
        raise FingerprintError(f"{path.name} does not exist, so it cannot be hashed; check the path.")
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    names = [item.name if item == path else item.relative_to(path).as_posix() for item in files]
    return len(files), canonical_hash([[name, file_sha256(item)] for name, item in zip(names, files, strict=True)])


def canonical_hash(value: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of its keys."""
    return text_sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str))


# --- machine -----------------------------------------------------------------------------------------------------


def machine() -> Machine:
    """Describe this machine; `key` is a hash of the stable fields only, so load and frequency never split it."""
    stable = _stable_fields()
    return Machine(key=canonical_hash(stable)[:12], **stable, observations=observations())


def machine_key(fields: Machine) -> str:
    """Recompute the key of a stored machine from its stable fields (12 hex digits)."""
    return canonical_hash(fields.model_dump(exclude={"key", "observations"}))[:12]


def observations() -> dict[str, float]:
    """Read what changes from second to second: 1-minute load, CPU frequency (MHz), free memory (GiB)."""
    seen = {"load_1m": round(os.getloadavg()[0], 2)}
    frequency = _cpu_mhz()
    if frequency is not None:
        seen["cpu_mhz"] = frequency
    seen["memory_free_gib"] = round(psutil.virtual_memory().available / 2**30, 1)
    return seen


def environment() -> dict[str, str]:
    """Return the interpreter's version and the variables that change timings, without private text."""
    kept = {name: os.environ[name] for name in TIMING_VARIABLES if os.environ.get(name)}
    return {"python": platform.python_version(), **strip_private(kept, Path.cwd())}


@functools.cache
def _stable_items() -> tuple[tuple[str, Any], ...]:
    gpus = _gpu_models()
    return (
        ("cpu_model", _cpu_model()),
        ("cores", _usable_cores()),
        # Firmware and kernel take a varying part of the nominal size; rounding up gives the same figure every boot.
        ("memory_gib", math.ceil(psutil.virtual_memory().total / 2**30)),
        ("gpu_model", " + ".join(sorted(set(gpus)))),
        ("gpu_count", len(gpus)),
        ("os", _operating_system()),
        ("libraries", _library_versions()),
    )


def _stable_fields() -> dict[str, Any]:
    return dict(_stable_items())


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    found = dict[str, str]()
    for line in _proc_lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), " ".join(value.split()))
    named = found.get("model name") or found.get("Model")
    if not named:
        return platform.processor() or platform.machine()
    # A virtual machine may hide the product: two generations that both say "AMD EPYC" differ by half in bf16.
    generation = [f"{word}{found[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in found]
    return " ".join([named, *generation])


def _cpu_mhz() -> float | None:
    values = [float(line.split(":")[1]) for line in _proc_lines("/proc/cpuinfo") if line.startswith("cpu MHz")]
    return round(sum(values) / len(values), 0) if values else None


def _proc_lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _gpu_models() -> list[str]:
    models = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        models += [line.partition(":")[2].strip() for line in _proc_lines(str(file)) if line.startswith("Model:")]
    return models or _gpu_models_from_tool()


def _gpu_models_from_tool() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []


def _operating_system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    return f"{platform.system()} {release.get('ID', '')} {release.get('VERSION_ID', '')}".strip()


def _library_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in KEY_LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


# --- privacy -----------------------------------------------------------------------------------------------------

COMMON_NAMES = frozenset({"", "root", "user", "localhost"})
"""Account and host names that say nothing about anybody and stand in too many ordinary texts to be replaced."""

_END = r"[^\s'\"`,;:=<>|()\[\]{}]"
_ABSOLUTE = re.compile(rf"(?:(?<![\w.~*$}})\]+/\\:])|(?<=:)(?!//))/+{_END}+")
_AFTER_OPTION = re.compile(rf"(?<!\S)(-\w)(/{_END}+)")
_WINDOWS = re.compile(rf"(?<!\w)(?:[A-Za-z]:[\\/]|\\\\){_END}*")
_WHOLE_VALUE = re.compile(r"(?P<key>[^/\s'\"]*=)?(?P<quote>['\"]?)(?P<path>/(?!/).*)", re.S)
_HOME = re.compile(r"[/\\](?:home|Users)(?:[/\\][^/\\\s'\"`,;:=]*|(?!\w))")


def strip_private(value: Any, root: Path) -> Any:
    """Return plain data (strings, lists, dicts) without absolute paths, user names or host names.

    A path under `root` becomes relative to it; any other absolute path becomes its last part; the account's and the
    host's name become `<user>` and `<host>`. Keys of dicts are cleaned as well; numbers and None pass unchanged.
    """
    return _cleaned(value, _roots(root), _private_names())


def _cleaned(value: Any, roots: list[str], names: dict[str, str]) -> Any:
    if isinstance(value, str | Path):
        return _clean_text(str(value), roots, names)
    if isinstance(value, Mapping):
        return {_cleaned(key, roots, names): _cleaned(item, roots, names) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(item, roots, names) for item in value]
    return value


def _clean_text(text: str, roots: list[str], names: dict[str, str]) -> str:
    text = re.sub(r"file:/+", "/", text)
    for root in roots:
        text = re.sub(rf"(?<![\w./]){re.escape(root)}(?:/+(?=[^\s/])|(?=[/\s'\",:;)\]]|$)/*)", _inside_root, text)
    whole = _WHOLE_VALUE.fullmatch(text)
    if whole and " /" not in whole["path"]:
        text = (whole["key"] or "") + whole["quote"] + _last_part(whole["path"])
    text = _AFTER_OPTION.sub(lambda match: match[1] + _last_part(match[2]), text)
    text = _WINDOWS.sub(lambda match: _last_part(match[0].replace("\\", "/")), text)
    text = _ABSOLUTE.sub(lambda match: _last_part(match[0]), text)
    text = _HOME.sub("/<user>", text)
    for name, label in names.items():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", label, text, flags=re.IGNORECASE)
    return text


def _inside_root(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 1]
    return "" if match[0].endswith("/") and following and not following.isspace() else "."


def _last_part(path: str) -> str:
    parts = PurePosixPath(path.rstrip("/") or "/").parts
    if len(parts) >= 3 and parts[-2] in ("home", "Users"):
        return "<user>"
    return parts[-1] if len(parts) > 1 else "<path>"


def _roots(root: Path) -> list[str]:
    spellings = {str(root.absolute()), str(root.resolve())} - {"/"}
    return sorted(spellings, key=len, reverse=True)


def _private_names() -> dict[str, str]:
    host = socket.gethostname()
    names = {host: "<host>", host.partition(".")[0]: "<host>"}
    accounts = [os.environ.get("USER", ""), os.environ.get("LOGNAME", ""), Path.home().name]
    names |= dict.fromkeys(accounts, "<user>")
    kept = {name: label for name, label in names.items() if name.lower() not in COMMON_NAMES}
    return dict(sorted(kept.items(), key=lambda item: -len(item[0])))
