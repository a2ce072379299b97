"""Content hashes of files, remembered by (size, mtime, ctime, inode) so that an unchanged file is read once."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_json(value: object) -> str:
    """Return the hex SHA-256 of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, flush it to disk and rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class ContentHashes:
    """SHA-256 of files with a memo on disk. The memo is a hint: losing it costs a rehash, never a wrong answer."""

    def __init__(self, memo: Path) -> None:
        self.memo = memo
        self._known: dict[str, list[object]] = self._read()

    def _read(self) -> dict[str, list[object]]:
        try:
            return dict(json.loads(self.memo.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def of(self, paths: Sequence[Path]) -> list[str]:
        """Return the hex hash of each file, in order; only files whose identity changed are read.

        Raises:
            OSError: a file cannot be read.
        """
        hashes = [self._of_one(path) for path in paths]
        self._save(paths)
        return hashes

    def _of_one(self, path: Path) -> str:
        status = path.stat()
        identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        key = str(path.resolve())
        known = self._known.get(key)
        if known is None or known[:4] != identity:
            known = [*identity, sha256_of_file(path)]
            self._known[key] = known
        return str(known[4])

    def _save(self, paths: Iterable[Path]) -> None:
        merged = self._read() | {key: self._known[key] for key in (str(path.resolve()) for path in paths)}
        try:
            write_atomically(self.memo, json.dumps(merged).encode())
        except OSError:
            # A read-only cache folder must not stop a run: the memo only saves time.
            return
