"""Make glibc keep the pages it has: tensors of tens of megabytes are otherwise given back and faulted in at every step.

The same settings as `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=... MALLOC_TOP_PAD_=256M` in the environment, by
`mallopt(3)` in the running process, so that no re-exec is needed.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 256 * 2**20}


def keep_pages() -> str | None:
    """Ask the allocator to keep its pages; return why it could not, or None when it did."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "the C library has no mallopt (not glibc)"
    refused = [option for option, value in _KEPT.items() if mallopt(option, value) != 1]
    return f"mallopt refused option {refused[0]}" if refused else None
