"""What was measured on what: machine, tree and content as short comparable values, and the removal of private text."""

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
from agent_tools.records.schema import GitState, Machine

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

GIT_TIMEOUT_SECONDS = 30.0
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Git's name for the tree without files: what a repository without commits is compared with."""


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
    for line in _proc_lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return " ".join(value.split())
    return platform.processor() or platform.machine()


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


# --- git ---------------------------------------------------------------------------------------------------------


def git_state(root: Path) -> GitState | None:
    """Describe the tree at `root`: commit, branch and a hash of everything uncommitted, untracked files included.

    None where `root` is in no repository (an unpacked archive). No program that the repository's own configuration
    names is run: hooks, fsmonitor, filters, external diff and textconv are off.

    Raises:
        FingerprintError: git is missing, refuses the repository, or its work tree lies elsewhere.
    """
    if shutil.which("git") is None:
        raise FingerprintError("git is not installed; install it so that records can name the tree they measured.")
    if _holder(root) is None:
        return None
    blanked = _blanked_settings(root)
    commit = _git(root, blanked, "rev-parse", "--verify", "-q", "HEAD", missing_ok=True).strip()
    branch = _git(root, blanked, "symbolic-ref", "-q", "--short", "HEAD", missing_ok=True).strip()
    files = _changed_files(root, blanked)
    return GitState(
        commit=commit,
        branch=branch or "(detached)",
        dirty=bool(files),
        dirty_hash=_dirty_hash(root, blanked, commit or EMPTY_TREE) if files else "",
        changed_files=[line for line, _ in files],
    )


def _holder(root: Path) -> Path | None:
    """The folder at or above `root` that has a `.git`."""
    return next((folder for folder in (root.resolve(), *root.resolve().parents) if (folder / ".git").exists()), None)


def _git_environment(root: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"core.fsmonitor": "", "core.hooksPath": "/dev/null", "log.showSignature": "false", **settings}
    holder = _holder(root)
    # Named, not discovered: git refuses to discover a checkout that belongs to another user, as in a container.
    places = {"GIT_DIR": str(holder / ".git"), "GIT_WORK_TREE": str(holder)} if holder else {}
    numbered = {}
    for index, (name, value) in enumerate(fixed.items()):
        numbered[f"GIT_CONFIG_KEY_{index}"] = name
        numbered[f"GIT_CONFIG_VALUE_{index}"] = value
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": str(len(fixed)),
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "true",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C.UTF-8",
        **places,
        **numbered,
    }


def _git(root: Path, settings: Mapping[str, str], *arguments: str, missing_ok: bool = False) -> str:
    command = ["git", "--no-pager", *arguments]
    try:
        answer = subprocess.run(
            command,
            cwd=root,
            env=_git_environment(root, settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FingerprintError(f"git {arguments[0]} took over {GIT_TIMEOUT_SECONDS:.0f} s; try it by hand.") from error
    if answer.returncode != 0 and not missing_ok:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise FingerprintError(f"git {arguments[0]} failed: {said[0] if said else 'without a message'}.")
    return answer.stdout.decode(errors="surrogateescape") if answer.returncode == 0 else ""


DANGEROUS_SETTING = re.compile(r"filter\..*|diff\..*\.(command|textconv)|diff\.external|gpg\..*program", re.I | re.S)


def _blanked_settings(root: Path) -> dict[str, str]:
    """Every setting of the repository that names a program, as an override to nothing."""
    listing = _git(root, {}, "config", "--list", "--includes", "-z")
    settings: dict[str, str] = {}
    for entry in listing.split("\0"):
        name, _, value = entry.partition("\n")
        if name.lower() == "core.worktree":
            _check_work_tree(root, value)
        if DANGEROUS_SETTING.fullmatch(name):
            settings[name] = "false" if name.endswith(".required") else ""
    return settings


def _check_work_tree(root: Path, value: str) -> None:
    holder = _holder(root) or root.resolve()
    git_folder = Path(_git(root, {}, "rev-parse", "--absolute-git-dir").rstrip("\n"))
    if not (git_folder / value).resolve().is_relative_to(holder):
        raise FingerprintError("The repository's core.worktree points outside it; unset core.worktree first.")


def _changed_files(root: Path, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """(`status` line, path) of each uncommitted file, sorted; paths relative to the top of the tree."""
    arguments = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty", "--no-renames")
    entries = [entry for entry in _git(root, settings, *arguments).split("\0") if entry]
    return sorted((_printable(entry), entry[3:]) for entry in entries)


def _printable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _dirty_hash(root: Path, settings: Mapping[str, str], base: str) -> str:
    digest = hashlib.sha256()
    arguments = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", "--binary", "--no-renames")
    diff = _git(root, settings, *arguments, "--ignore-submodules=dirty", base)
    digest.update(diff.encode(errors="surrogateescape"))
    top = Path(_git(root, settings, "rev-parse", "--show-toplevel").rstrip("\n"))
    untracked = _git(root, settings, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", ":/")
    for name in sorted(entry for entry in untracked.split("\0") if entry):
        digest.update(b"\0" + name.encode(errors="surrogateescape") + b"\0" + _untracked_digest(top / name).encode())
    return digest.hexdigest()


def _untracked_digest(path: Path) -> str:
    if path.is_symlink():
        return text_sha256(os.fsencode(os.readlink(path)))
    return file_sha256(path) if path.is_file() else ""


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
