"""Cache tiers: each one is a single memory-mapped file that all workers, ranks and later processes share.

Layout of a tier file: a fixed preamble (magic, header length, header checksum), a JSON header (tier, key, sizes, what
the key covers), a slot table (state, checksum, offset, length, 12 numbers of the caller's choice per slot), then the
payloads at 64-byte steps. A tier is filled lazily, slot by slot, in a `.partial` file; when every slot is full it is
renamed to `.cache` and made read-only ("sealed"); a lock file guards making, sealing, unsealing and clearing. A slot
counts as full only when its state byte says so, which is written after payload and checksum; each process verifies a
slot's checksum the first time it reads it. So a kill at any moment, sanity batches or a second process leave a usable
cache, and a truncated, damaged or foreign file is detected, named and rebuilt. Where a payload lies is computed, never
read from the file, so a damaged table cannot send one slot's bytes into another. Every process that maps a file holds a
shared lock on it, which the kernel drops with the process: a byte budget can so tell which files nobody uses, and
removes the one that was opened longest ago first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ocr.utils.errors import OCRError

logger = logging.getLogger(__name__)

CACHE_SCHEMA = 1
"""Version of the file layout; part of every key."""

_MAGIC = b"OCRCACHE"
_PREAMBLE = struct.Struct("<8sIIQ")  # magic, header length, header crc32, file length
_ALIGNMENT = 64
_SLOT = np.dtype([("state", "u1"), ("crc", "<u4"), ("offset", "<u8"), ("length", "<u8"), ("numbers", "<f8", (12,))])
_FULL = 1
_TIER_FILE = re.compile(r"^(images|maps|tensors)-[0-9a-f]{20}\.(cache|partial)$")
_TEMPORARY = re.compile(r"^(images|maps|tensors)-[0-9a-f]{20}\.tmp$")

NUMBERS = 12
"""How many float64 numbers a slot keeps beside its payload (a 3x3 matrix and a size fit)."""


class CacheError(OCRError):
    """A cache file or folder that cannot be used, named with the reason."""


@dataclass(frozen=True)
class CachedItem:
    """One slot: `payload` is a read-only uint8 view (length,) of the mapped file, `numbers` a float64 array (12,)."""

    payload: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True)
class TierHealth:
    """What `cache status` and `cache verify` say about one tier file."""

    file: str
    tier: str
    key: str
    slots: int
    full: int
    bytes: int
    sealed: bool
    damaged: list[int]
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)


class CacheTier:
    """One tier of one dataset in one configuration. Picklable: another process maps the same file."""

    def __init__(
        self,
        folder: Path,
        tier: str,
        key: str,
        lengths: Sequence[int],
        covers: Mapping[str, Any] | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        """Open the tier's file, or create it with all its disk space reserved.

        Args:
            folder: cache folder; made when missing.
            tier: `images`, `maps` or `tensors`.
            key: hex digest of everything the content depends on.
            lengths: payload bytes of each slot.
            covers: what the key covers, for people who read the header.
            budget_bytes: most that all tier files of the folder may take together; files that no process uses make
                room, the one opened longest ago first. None: no limit.

        Raises:
            CacheError: the folder cannot be written, has too little space, or the tier does not fit into the budget; a
                run can go on without the tier.
        """
        self.folder, self.tier, self._content_key = folder, tier, key
        self.key = hashlib.sha256(f"{CACHE_SCHEMA} {tier} {key}".encode()).hexdigest()
        self._lengths = list(lengths)
        self._covers = dict(covers or {})
        self._budget = budget_bytes
        self._header, self._table_start, self._layout, self._total = self._laid_out()
        self._open()

    @property
    def path(self) -> Path:
        """The file as it is named now: `.cache` when sealed, else `.partial`."""
        return self._sealed_path if self._sealed_path.exists() else self._partial_path

    @property
    def _sealed_path(self) -> Path:
        return self.folder / f"{self.tier}-{self.key[:20]}.cache"

    @property
    def _partial_path(self) -> Path:
        return self._sealed_path.with_suffix(".partial")

    def __len__(self) -> int:
        return len(self._lengths)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "tier": self.tier,
            "key": self._content_key,
            "lengths": self._lengths,
            "covers": self._covers,
            "budget_bytes": self._budget,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        try:
            self.__init__(**state)  # type: ignore[misc]  # reopening is what construction does
        except CacheError as error:
            # The sender has already said whether it has this tier; a worker that cannot open it must not end the run.
            logger.warning("Going on without the %s tier in this process: %s", self.tier, error)
            self._open_nothing()

    @property
    def full_slots(self) -> int:
        """How many slots are filled (by any process so far)."""
        return int(np.count_nonzero(self._table["state"] == _FULL))

    @property
    def sealed(self) -> bool:
        """Whether the tier is complete and read-only."""
        return self._sealed_path.exists()

    @property
    def writable(self) -> bool:
        """Whether this process may fill slots: not where the tier is sealed or its file is read-only."""
        return bool(self._bytes.flags.writeable)

    def get(self, slot: int) -> CachedItem | None:
        """Return the slot's content, or None where it is not filled or its checksum does not match."""
        row = self._table[slot]
        if row["state"] != _FULL:
            return None
        start, length = self._place(slot)
        payload = self._bytes[start : start + length]
        if not self._verified[slot]:
            if zlib.crc32(payload.data, _numbers_crc(row)) != int(row["crc"]):
                self._give_up_slot(slot)
                return None
            self._verified[slot] = True
        payload.flags.writeable = False
        return CachedItem(payload, row["numbers"].copy())

    def put(self, slot: int, parts: Sequence[np.ndarray], numbers: np.ndarray | None = None) -> None:
        """Fill a slot with the bytes of `parts` in order; two processes may fill one slot at once with the same bytes.

        A sealed tier, and one in a folder that is read-only for this user, stays as it is.

        Raises:
            ValueError: the parts do not have the slot's length.
        """
        if not self.writable and not self._reopened(slot):
            return
        row = self._table[slot : slot + 1]
        position, length = self._place(slot)
        total = sum(part.nbytes for part in parts)
        if total != length:
            raise ValueError(f"slot {slot} of the {self.tier} tier holds {length} bytes, got {total}")
        if numbers is not None:
            row["numbers"][0, : numbers.size] = numbers
        crc = _numbers_crc(row[0])
        for part in parts:
            flat = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            self._bytes[position : position + flat.size] = flat
            crc = zlib.crc32(flat.data, crc)
            position += flat.size
        row["crc"][0] = crc
        row["state"][0] = _FULL
        self._verified[slot] = True
        self._seal_when_complete()

    def _place(self, slot: int) -> tuple[int, int]:
        return int(self._layout["offset"][slot]), int(self._layout["length"][slot])

    def _open_nothing(self) -> None:
        """Be a tier in which every slot misses and nothing is kept."""
        self._bytes, self._table = np.zeros(0, np.uint8), np.zeros(len(self), _SLOT)
        self._bytes.flags.writeable = False
        self._identity = (-1, -1)
        self._verified = np.zeros(len(self), bool)

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder):
                self._open_or_create()
        except OSError as error:
            raise CacheError(
                f"the {self.tier} cache in {self.folder} cannot be used: {error.strerror or error}; "
                f"free some space, or set cache_dir to a folder that can be written"
            ) from error

    def _open_or_create(self) -> None:
        for path in (self._sealed_path, self._partial_path):
            if path.exists():
                problem = self._map(path)
                if problem is None:
                    if self.full_slots == len(self):
                        self._seal()  # a builder may have been killed just before it did so
                    elif path == self._sealed_path:
                        self._unseal()
                    return
                logger.warning("Cache file %s is not usable (%s); it is built again", path.name, problem)
                path.unlink()
        self._create()

    def _laid_out(self) -> tuple[bytes, int, np.ndarray, int]:
        header = json.dumps(
            {"tier": self.tier, "key": self.key, "slots": len(self), "covers": self._covers}, sort_keys=True
        ).encode()
        table_start = _aligned(_PREAMBLE.size + len(header))
        table = np.zeros(len(self), _SLOT)
        position = _aligned(table_start + table.nbytes)
        for slot, length in enumerate(self._lengths):
            table[slot]["offset"], table[slot]["length"] = position, length
            position = _aligned(position + length)
        return header, table_start, table, position

    def _create(self) -> None:
        for left in _left_by_a_kill(self.folder):
            with suppress(OSError):  # another user's, in a folder of several
                left.unlink()
        self._make_room(self._total)
        temporary = self._partial_path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as stream:
                # Reserving the space now turns a full disk into an error here instead of a SIGBUS in mid-epoch.
                os.posix_fallocate(stream.fileno(), 0, max(self._total, 1))
                header_crc = zlib.crc32(self._header)
                stream.write(_PREAMBLE.pack(_MAGIC, len(self._header), header_crc, self._total) + self._header)
                stream.seek(self._table_start)
                stream.write(self._layout.tobytes())
            os.replace(temporary, self._partial_path)
        finally:
            temporary.unlink(missing_ok=True)
        problem = self._map(self._partial_path)
        if problem is not None:
            raise CacheError(
                f"the new cache file {self._partial_path} cannot be read back: {problem}; run `ocr cache clear`"
            )

    def _make_room(self, needed: int) -> None:
        """Keep the folder within its budget; called with the folder's lock held, before the file is made."""
        if self._budget is None:
            return
        sizes = {path: path.stat().st_size for path in tier_files(self.folder)}
        unused = sorted((path for path in sizes if not _in_use(path)), key=lambda path: path.stat().st_mtime)
        held = sum(sizes.values())
        kept = held - sum(sizes[path] for path in unused)
        if kept + needed > self._budget:
            raise CacheError(
                f"cache over budget: the {self.tier} tier needs {_mebibytes(needed)}, tiers in use take "
                f"{_mebibytes(kept)} of the {_mebibytes(self._budget)} that cache_budget_gib allows; raise "
                "cache_budget_gib, switch a tier off, or set image_long_side to keep smaller images"
            )
        for path in unused:
            if held + needed <= self._budget:
                return
            path.unlink()
            held -= sizes[path]
            logger.info("Removed %s (%s, used by nobody) to stay within the budget", path.name, _mebibytes(sizes[path]))

    def _map(self, path: Path) -> str | None:
        """Map the file; return what is wrong with it, or None."""
        try:
            found = read_header(path)
        except CacheError as error:
            return str(error)
        if found["key"] != self.key or found["slots"] != len(self):
            return f"it was built for key {found['key'][:12]} and {found['slots']} slots"
        if {path.stat().st_size, found["file_length"]} != {self._total} or len(self._header) != found["header_length"]:
            return f"it has {path.stat().st_size} bytes and says {found['file_length']} instead of {self._total}"
        writable = os.access(path, os.W_OK) and path.suffix == ".partial"
        with path.open("r+b" if writable else "rb") as stream:
            # The mapping duplicates the descriptor, so this lock, which says "in use", lives as long as the mapping.
            fcntl.flock(stream, fcntl.LOCK_SH)
            with suppress(OSError):
                os.utime(path)
            status = os.fstat(stream.fileno())
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            mapped = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=access), np.uint8)
        table = mapped[self._table_start : self._table_start + len(self) * _SLOT.itemsize].view(_SLOT)
        if any((table[column] != self._layout[column]).any() for column in ("offset", "length")):
            return "its slot table is damaged"
        self._bytes, self._table = mapped, table
        self._identity = (status.st_dev, status.st_ino)
        self._verified = np.zeros(len(self), bool)
        return None

    def _reopened(self, slot: int) -> bool:
        # Another process may have unsealed the file to mend this slot; this one's mapping is still read-only.
        if self._table["state"][slot] != _FULL and os.access(self.folder, os.W_OK):
            with _locked(self.folder):
                self._unseal()
        return self.writable

    def _is_ours(self, path: Path) -> bool:
        # The folder may have been cleared and filled again by others since this process mapped its file.
        try:
            status = path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _seal_when_complete(self) -> None:
        if self.full_slots == len(self):
            with _locked(self.folder):
                self._seal()

    def _seal(self) -> None:
        """Rename the full file and make it read-only, with the lock held; a file of another user may stay as it is."""
        try:
            if self._is_ours(self._partial_path):
                os.replace(self._partial_path, self._sealed_path)
                self._sealed_path.chmod(0o444)
        except OSError as error:
            logger.info("Cache file %s is full, but stays unsealed (%s)", self._partial_path.name, error)

    def _unseal(self) -> None:
        """Make a sealed file writable again; where that is not allowed it stays, with slots that miss."""
        try:
            if self._is_ours(self._sealed_path):
                self._sealed_path.chmod(0o644)
                os.replace(self._sealed_path, self._partial_path)
            if self._is_ours(self._partial_path):
                self._map(self._partial_path)
        except OSError as error:
            logger.warning("Cache file %s cannot be mended (%s)", self._sealed_path.name, error)

    def _give_up_slot(self, slot: int) -> None:
        logger.warning("Slot %d of cache file %s is damaged (checksum); it is filled again", slot, self.path.name)
        with _locked(self.folder):
            if not self.writable:
                self._unseal()
        if self.writable:
            self._table[slot : slot + 1]["state"][0] = 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: files are made, sealed, unsealed and cleared by one process at a time.

    A folder that cannot be written has no transitions to guard, so there the block runs without it.
    """
    lock = _opened_lock(folder / ".lock")
    if lock is None:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _opened_lock(path: Path) -> int | None:
    # Another user's file cannot be written, but it can be locked all the same.
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC, 0o644)
    return None


def _in_use(path: Path) -> bool:
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def read_header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a tier file with `header_length` and `file_length` added.

    Raises:
        CacheError: the file is truncated, damaged, or no cache file.
    """
    with path.open("rb") as stream:
        preamble = stream.read(_PREAMBLE.size)
        if len(preamble) < _PREAMBLE.size:
            raise CacheError(f"{path.name} is too short to be a cache file")
        magic, header_length, crc, file_length = _PREAMBLE.unpack(preamble)
        header = stream.read(header_length) if magic == _MAGIC else b""
    if magic != _MAGIC:
        raise CacheError(f"{path.name} is not a cache file of this project")
    if len(header) < header_length or zlib.crc32(header) != crc:
        raise CacheError(f"the header of {path.name} is damaged")
    return {**json.loads(header), "header_length": header_length, "file_length": file_length}


def tier_files(cache_dir: Path) -> list[Path]:
    """Return the tier files of a cache folder, sealed and partial, sorted by name."""
    return sorted(path for path in cache_dir.glob("*-*") if _TIER_FILE.match(path.name))


def inspect_cache(cache_dir: Path, depth: Literal["status", "verify"]) -> list[TierHealth]:
    """Describe every tier file of a folder, sorted by name; one that is sealed or cleared meanwhile is no error."""
    found = []
    for path in tier_files(cache_dir):
        # A builder may rename the file between the listing and the look.
        for name in (path, path.with_suffix(".cache"), path.with_suffix(".partial")):
            try:
                found.append(inspect_tier(name, depth))
            except FileNotFoundError:
                continue
            break
    return found


def inspect_tier(path: Path, depth: Literal["status", "verify"]) -> TierHealth:
    """Describe one tier file; `verify` also reads every full slot and compares its checksum. Never writes.

    Raises:
        FileNotFoundError: there is no such file (any more).
    """
    size = path.stat().st_size
    try:
        header = read_header(path)
    except CacheError as error:
        return TierHealth(path.name, path.name.split("-")[0], "", 0, 0, size, False, [], str(error))
    problem = f"{size} bytes instead of {header['file_length']}" if size != header["file_length"] else None
    damaged: list[int] = []
    full = 0
    if problem is None:
        data = np.memmap(path, np.uint8, "r")
        start = _aligned(_PREAMBLE.size + header["header_length"])
        table = data[start : start + header["slots"] * _SLOT.itemsize].view(_SLOT)
        full = int(np.count_nonzero(table["state"] == _FULL))
        if depth == "verify":
            damaged = [slot for slot, row in enumerate(table) if row["state"] == _FULL and not _intact(data, row)]
    if problem is None and path.suffix == ".cache" and full < header["slots"]:
        problem = f"sealed with {full} of {header['slots']} slots; the next run goes on filling it"
    return TierHealth(
        path.name, header["tier"], header["key"], header["slots"], full, size, path.suffix == ".cache", damaged, problem
    )


def _intact(data: np.ndarray, row: np.void) -> bool:
    start = int(row["offset"])
    return zlib.crc32(data[start : start + int(row["length"])].data, _numbers_crc(row)) == int(row["crc"])


def _numbers_crc(row: np.void) -> int:
    return zlib.crc32(np.ascontiguousarray(row["numbers"]).data)


def clear_cache(cache_dir: Path) -> tuple[int, int]:
    """Delete every tier file of a cache folder; return (files, bytes) removed. Other files are left alone.

    Raises:
        CacheError: a file may not be deleted.
    """
    if not cache_dir.is_dir():
        return 0, 0
    with _locked(cache_dir):
        files = [*tier_files(cache_dir), *_left_by_a_kill(cache_dir)]
        size = sum(path.stat().st_size for path in files)
        for path in files:
            try:
                path.unlink()
            except OSError as error:
                raise CacheError(
                    f"the cache file {path} cannot be deleted: {error.strerror}; clear the folder as the user "
                    "who owns it, or set cache_dir to another one"
                ) from error
    return len(files), size


def _left_by_a_kill(folder: Path) -> list[Path]:
    # Whoever makes a file holds the lock, so a temporary one that is seen with the lock held has no maker any more.
    return [path for path in folder.glob("*.tmp") if _TEMPORARY.match(path.name)]
