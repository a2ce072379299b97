"""The embedding side of `benchmarks.search_quality`, in an environment that has wordllama: a task in, rankings out.

Nothing is downloaded: the weights and the tokenizer are files of the package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import wordllama  # type: ignore[import-not-found]


def main() -> None:
    """Read texts and queries as JSON; write, per query, the places of the nearest texts."""
    task = json.load(sys.stdin)
    # The package looks for its own tokenizer in a folder that it does not have; as a cache, its folder is complete.
    place = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=place, disable_download=True)
    texts = _unit_length(model.embed(task["texts"]))
    queries = _unit_length(model.embed(task["queries"]))
    order = np.argsort(-(queries @ texts.T), axis=1, kind="stable")[:, : task["depth"]]
    json.dump(order.tolist(), sys.stdout)


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths))


if __name__ == "__main__":
    main()
