"""Show what each part of the transforms costs per image: `python scripts/profile_transforms.py [--data PATH] [--json]`.

The pipelines are described in `ocr/datasets/transform_profile.py`; each runs with and without polygons.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.harness import SPLIT, add_data_options, labelled_images, positive, receipts_folder
from ocr.datasets.transform_profile import profile_transforms
from ocr.utils.content_hash import sha256_of_file, sha256_of_json
from ocr.utils.image_loading import ImageLoader


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile the first images of the validation split and print a table, or the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser, images=16)
    parser.add_argument("--repeats", type=positive, default=5, help="timed passes; medians are shown")
    parser.add_argument("--size", type=positive, default=640, help="side of the square input, in pixels")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    images = labelled_images(given.data, given.images)
    paths = [receipts_folder(given.data) / "images" / SPLIT / image.name for image in images]
    size = (given.size, given.size)
    pixels = [ImageLoader()(path) for path in paths]
    rows = profile_transforms(pixels, [image.polygons for image in images], size, given.repeats)
    if not given.json:
        print(f"{'pipeline':<14}{'part':<28}{'polygons':<10}{'ms per image':>12}{'share':>8}")
        for row in rows:
            polygons = "with" if row.with_keypoints else "without"
            print(f"{row.pipeline:<14}{row.name:<28}{polygons:<10}{row.milliseconds:>12.3f}{row.share:>8.1%}")
        return
    dataset = sha256_of_json([sha256_of_file(path) for path in paths])
    print(json.dumps({"images": len(images), "size": size, "rows": [asdict(row) for row in rows], "dataset": dataset}))


if __name__ == "__main__":
    main()
