"""The `ocr` command: train, evaluate, predict, score, oracle, data and cache."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ocr.datasets.annotations import PolygonFrame, load_annotations
from ocr.datasets.canonical import canonicalize as make_canonical
from ocr.datasets.synthetic import render_dataset
from ocr.inference import (
    evaluate as run_evaluation,
)
from ocr.inference import (
    fill_caches,
    oracle_report,
    predict_images,
    sentence_for_errors,
)
from ocr.inference import (
    score as score_files,
)
from ocr.utils.cache_manager import clear_cache, inspect_cache
from runners.train import main as run_training

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
data_app = typer.Typer(help="Label files and synthetic receipts.", no_args_is_help=True)
cache_app = typer.Typer(help="Fill, look at, verify and clear the cache tiers.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")

Json = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line")]
CacheDir = Annotated[Path, typer.Option(help="the folder of the tier files")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Hydra overrides, KEY=VALUE")]
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _show(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(values) + "\n")
        return
    for name, value in values.items():
        if isinstance(value, dict):
            shown = ", ".join(
                f"{key} {item:.4g}" if isinstance(item, float) else f"{key} {item}" for key, item in value.items()
            )
            sys.stdout.write(f"{name}: {shown}\n")
        else:
            sys.stdout.write(f"{name}: {value}\n")


@app.command(context_settings=_PASS_ON)
def train(context: typer.Context) -> None:
    """Train: the same as `python -m runners.train`, with Hydra overrides and Hydra's own options."""
    sys.argv = ["runners/train.py", *context.args]
    run_training()


@app.command()
def evaluate(overrides: Overrides = None) -> None:
    """Validate checkpoint=PATH on the validation split, passes=N times, and leave a run file."""
    path = run_evaluation(overrides or [])
    sys.stdout.write(f"run: {path}\n")


@app.command()
def predict(
    images: Annotated[Path, typer.Argument(help="an image, or a folder of images")],
    output: Annotated[Path, typer.Option(help="a .json file, or a .csv file in the competition's form")],
    overrides: Overrides = None,
) -> None:
    """Detect text in images with checkpoint=PATH and write the polygons in original pixels."""
    count = predict_images(images, output, overrides or [])
    sys.stdout.write(f"{count} images: {output}\n")


@app.command()
def score(
    truth: Annotated[Path, typer.Argument(help="label file")],
    prediction: Annotated[Path, typer.Argument(help="prediction JSON or submission CSV")],
    fp_cap: Annotated[int, typer.Option(help="CLEval: most false-positive characters of one box")] = 100,
    as_json: Json = False,
) -> None:
    """Score predictions: ICDAR IoU and CLEval, pooled, with every count."""
    _show(score_files(truth, prediction, fp_cap), as_json)


@app.command()
def oracle(
    data: Annotated[Path, typer.Option(help="folder with images/SPLIT and jsons/SPLIT.json")],
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    size: Annotated[int, typer.Option(help="side of the square network input, in pixels")] = 640,
    shrink_ratio: Annotated[float, typer.Option(help="r of targets and post-processing")] = 0.7,
    unclip: Annotated[float | None, typer.Option(help="a constant ratio instead of the exact inverse")] = None,
    as_json: Json = False,
) -> None:
    """Show the highest score that any training can reach: truth -> maps -> boxes -> metric; perfect and noisy maps."""
    _show(oracle_report(data, split, size, shrink_ratio, unclip), as_json)


@data_app.command()
def validate(
    labels: Annotated[Path, typer.Argument(help="label file or folder")],
    images_in: Annotated[Path | None, typer.Option("--images", help="folder of the images that labels name")] = None,
    as_json: Json = False,
) -> None:
    """Read a label file as training would, and say what is in it; an error names file, line and field."""
    annotations = load_annotations(labels, image_dir=images_in)
    images = [annotations[name] for name in annotations]
    _show(
        {
            "file": str(labels),
            "images": len(images),
            "polygons": sum(len(image.polygons) for image in images),
            "ignored": sum(sum(image.ignore) for image in images),
            "content_hash": annotations.content_digest(),
        },
        as_json,
    )


@data_app.command()
def synthesize(
    root: Annotated[Path, typer.Argument(help="a new folder")],
    train_images: Annotated[int, typer.Option("--train", help="training receipts")] = 200,
    val_images: Annotated[int, typer.Option("--val", help="validation receipts")] = 40,
    seed: Annotated[int, typer.Option(help="the same seed gives the same receipts")] = 0,
) -> None:
    """Render receipts with known polygons."""
    render_dataset(root, seed=seed, train=train_images, val=val_images, test=0)
    sys.stdout.write(f"{train_images} + {val_images} receipts: {root}\n")


@data_app.command()
def canonicalize(
    root: Annotated[Path, typer.Argument(help="folder with images/SPLIT and jsons/SPLIT.json")],
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    long_side: Annotated[int | None, typer.Option(help="shrink larger images to this longer side, in pixels")] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="PNG instead of JPEG of quality 95")] = False,
    polygon_frame: Annotated[
        PolygonFrame, typer.Option(help="whether polygons are in raw or displayed pixels")
    ] = "auto",
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad images out instead of stopping")] = False,
) -> None:
    """Write images/SPLIT_canonical and jsons/SPLIT_canonical.json: upright, without metadata, optionally smaller."""
    report = make_canonical(root, split, long_side, lossless, polygon_frame, "drop" if drop_bad else "error")
    for name, why in report.bad.items():
        sys.stdout.write(f"left out {name}: {why}\n")
    sys.stdout.write(f"{report.written} images written, {report.kept} kept from before: {report.image_path}\n")


@cache_app.command()
def prepare(overrides: Overrides = None) -> None:
    """Fill the tiers that a configuration asks for, offline."""
    sys.stdout.write(f"{fill_caches(overrides or [])} samples visited\n")


@cache_app.command()
def status(cache_dir: CacheDir = Path("outputs/cache"), as_json: Json = False) -> None:
    """List the tier files: what they hold, how full they are."""
    _report_tiers(cache_dir, "status", as_json)


@cache_app.command()
def verify(cache_dir: CacheDir = Path("outputs/cache"), as_json: Json = False) -> None:
    """Read every filled slot and compare its checksum; exit code 1 where one is damaged."""
    _report_tiers(cache_dir, "verify", as_json)


@cache_app.command()
def clear(cache_dir: CacheDir = Path("outputs/cache")) -> None:
    """Delete the tier files; they are built again when a run needs them."""
    files, size = clear_cache(cache_dir)
    sys.stdout.write(f"{files} files, {size / 2**20:.1f} MiB removed from {cache_dir}\n")


def _report_tiers(cache_dir: Path, depth: Any, as_json: bool) -> None:
    tiers = inspect_cache(cache_dir, depth)
    if as_json:
        sys.stdout.write(json.dumps({"cache_dir": str(cache_dir), "tiers": [tier.as_dict() for tier in tiers]}) + "\n")
    else:
        for tier in tiers:
            state = tier.problem or f"{tier.full}/{tier.slots} slots, {'sealed' if tier.sealed else 'being filled'}"
            damaged = f", damaged slots {tier.damaged}" if tier.damaged else ""
            sys.stdout.write(f"{tier.file}: {tier.bytes / 2**20:.1f} MiB, {state}{damaged}\n")
        sys.stdout.write(f"{len(tiers)} tier files in {cache_dir}\n")
    if any(tier.problem or tier.damaged for tier in tiers):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; an expected error is one sentence on stderr and exit code 2."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="[%(asctime)s][%(levelname)s] %(message)s", datefmt="%H:%M:%S"
    )
    with sentence_for_errors():
        app()


if __name__ == "__main__":
    main()
