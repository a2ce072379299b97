"""Which precision a run uses, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ocr.datasets.schemas import ConfigError
from ocr.utils.errors import nearest

ALLOWED = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Precision:
    """`asked` in the configuration, `used` by Lightning, and the reason in words."""

    asked: str
    used: str
    reason: str


def cpu_multiplies_bf16() -> bool:
    """Return whether this CPU has AMX or AVX512-BF16; without them bf16 is emulated and slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(asked: str | int, on_gpu: bool) -> Precision:
    """Resolve `trainer.precision`.

    Raises:
        ConfigError: an unknown value, or `16-mixed` without a GPU (Lightning would silently run bf16 instead).
    """
    asked = "32-true" if str(asked) == "32" else str(asked)
    if asked not in ALLOWED:
        raise ConfigError(
            f"trainer.precision={asked!r} is unknown{nearest(asked, ALLOWED)}; allowed: {', '.join(ALLOWED)}"
        )
    if asked == "16-mixed" and not on_gpu:
        raise ConfigError(
            "trainer.precision=16-mixed needs a GPU (fp16 has no fast path on a CPU); "
            "use trainer.precision=bf16-mixed, 32-true, or auto, which picks what this machine is fast at"
        )
    if asked != "auto":
        return Precision(asked, asked, "asked for")
    if on_gpu:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(asked, "bf16-mixed", "the GPU multiplies bf16")
        return Precision(asked, "16-mixed", "the GPU has no bf16")
    if cpu_multiplies_bf16():
        return Precision(asked, "bf16-mixed", "the CPU multiplies bf16 (AMX or AVX512-BF16)")
    return Precision(asked, "32-true", "the CPU has neither AMX nor AVX512-BF16")
