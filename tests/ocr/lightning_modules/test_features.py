"""The feature check notices what a configuration asked for and did not get."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate

from ocr.inference import compose_config, evaluate
from ocr.lightning_modules import assembly
from ocr.lightning_modules.compiled_forward import CompiledForward
from ocr.lightning_modules.features import FeatureError, check_features
from ocr.lightning_modules.run_file import CacheCounts, EpochFigures, FeatureRow
from ocr.utils import cache_manager
from ocr.utils.cache_manager import CachedItem, CacheTier


def overrides(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "model=tiny",
        "image_size=[64,64]",
        "dataloaders.num_workers=0",
        "trainer.enable_progress_bar=false",
        f"dataset_base_path={root}/",
        f"output_dir={out}",
        f"cache_dir={out}/cache",
        "run_id=run",
        "passes=2",
        *more,
    ]


def rows(out: Path) -> dict[str, dict[str, Any]]:
    run = json.loads((out / "run/run.json").read_text())
    return {row["feature"]: row for row in run["features"]}


def test_everything_that_was_asked_for_passes_on_a_healthy_run(synthetic_receipts: Path, tmp_path: Path) -> None:
    evaluate(overrides(synthetic_receipts, tmp_path))
    for name, row in rows(tmp_path).items():
        assert row["status"] in {"pass", "n/a"} or name in {"load_maps", "epoch ratio", "use_turbojpeg"}, row


def test_a_tensor_cache_that_never_hits_stops_the_run_and_keeps_its_figures(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(tier: CacheTier, slot: int) -> CachedItem | None:
        del tier, slot
        return None

    monkeypatch.setattr(cache_manager.CacheTier, "get", never)
    with pytest.raises(FeatureError, match=r"cache hits: expected all accesses, seen 0/5 hits.*features\.strict=false"):
        evaluate(overrides(synthetic_receipts, tmp_path))
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["status"] == "failed"
    assert len(run["epochs"]) == 2


def test_strict_off_reports_the_inactive_feature_and_goes_on(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_manager.CacheTier, "get", lambda tier, slot: None)
    evaluate(overrides(synthetic_receipts, tmp_path, "features.strict=false"))
    assert rows(tmp_path)["cache hits"]["status"] == "fail"


def test_a_cache_folder_that_cannot_be_used_is_declined_with_the_reason(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    evaluate(overrides(synthetic_receipts, tmp_path))
    declined = rows(tmp_path)["cache_transformed_tensors"]
    assert declined["status"] == "declined"
    assert "cannot be used" in declined["reason"]


def test_maps_are_not_built_without_a_loss_and_served_from_the_tier_with_one(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    evaluate(overrides(synthetic_receipts, tmp_path))
    assert rows(tmp_path)["load_maps"]["reason"] == "val_loss: false"
    evaluate(overrides(synthetic_receipts, tmp_path, "val_loss=true"))
    assert rows(tmp_path)["load_maps"]["status"] == "pass"
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["epochs"][1]["cache"]["maps"]["hits"] == 5
    assert run["epochs"][1]["metrics"]["loss"] == run["epochs"][0]["metrics"]["loss"]


def test_a_preload_that_stores_nothing_does_not_count_as_preloaded(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_manager.CacheTier, "get", lambda tier, slot: None)
    evaluate(overrides(synthetic_receipts, tmp_path, "features.strict=false"))
    assert rows(tmp_path)["preload_images"]["status"] == "fail"
    assert rows(tmp_path)["preload_images"]["seen"] == "0/5 images"


def test_a_run_that_validates_nothing_is_not_blamed_for_it(synthetic_receipts: Path, tmp_path: Path) -> None:
    evaluate([word for word in overrides(synthetic_receipts, tmp_path) if word != "passes=2"] + ["passes=0"])
    found = rows(tmp_path)
    assert {found[name]["status"] for name in ("cache_transformed_tensors", "cache hits", "load_maps")} == {"n/a"}


def test_an_allocator_that_cannot_be_set_is_declined_with_its_reason(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "keep_pages", lambda: "the C library has no mallopt (not glibc)")
    evaluate(overrides(synthetic_receipts, tmp_path))
    assert rows(tmp_path)["allocator"]["status"] == "declined"
    assert "not glibc" in rows(tmp_path)["allocator"]["reason"]


def test_no_absolute_path_enters_the_reasons(synthetic_receipts: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    evaluate(overrides(synthetic_receipts, tmp_path))
    assert str(tmp_path) not in (tmp_path / "run/run.json").read_text()


def judged(root: Path, out: Path, epochs: list[EpochFigures], *more: str, **asked: Any) -> dict[str, FeatureRow]:
    """The table for figures that a run might have left."""
    config = compose_config("evaluate", overrides(root, out, *more))
    dataset = instantiate(config.datasets.val_dataset, targets=None)
    module = instantiate(config.model)
    settings = {"epoch_ratio": 1.0, "shapes": {}, "resident": False} | asked
    precision = {"asked": "32-true", "used": "32-true", "reason": ""}
    allocator = {"asked": "default", "used": "default", "reason": ""}
    return {row.feature: row for row in check_features(dataset, module, epochs, precision, allocator, **settings)}


def epoch(number: int, **cache: CacheCounts) -> EpochFigures:
    return EpochFigures(epoch=number, phase="val", seconds=1.0, images=5, stages={}, cache=cache, metrics={}, counts={})


COLD = epoch(0, tensors=CacheCounts(misses=5))


def test_images_that_stay_on_the_device_count_as_served_from_the_cache(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    found = judged(synthetic_receipts, tmp_path, [COLD, epoch(1, resident=CacheCounts(hits=5))], resident=True)
    assert {found[name].status for name in ("resident", "cache hits", "cache_transformed_tensors")} == {"pass"}
    assert found["resident"].seen == "5/5 images"
    assert found["cache hits"].seen == "5/5 hits"


def test_images_that_were_asked_to_stay_on_the_device_and_did_not_fail_the_check(
    synthetic_receipts: Path, tmp_path: Path
) -> None:
    epochs = [COLD, epoch(1, tensors=CacheCounts(hits=5))]
    assert judged(synthetic_receipts, tmp_path, epochs, resident=True)["resident"].status == "fail"
    assert judged(synthetic_receipts, tmp_path, epochs, resident=False)["resident"].status == "n/a"
    assert judged(synthetic_receipts, tmp_path, epochs[:1], resident=True)["resident"].status == "n/a"


TALL, WIDE = (400, 200), (200, 200)


@pytest.mark.parametrize(
    ("buckets", "sizes", "seen", "status"),
    [
        (4, [TALL, WIDE], {"64x32": 1, "64x64": 1}, "pass"),
        (4, [TALL, WIDE], {"64x64": 2}, "fail"),
        (4, [TALL, WIDE], {"64x32": 1}, "pass"),
        (4, [TALL, WIDE], {"96x32": 1, "64x64": 1}, "fail"),
        (4, [TALL, TALL], {"64x32": 2}, "pass"),
        (4, [TALL, TALL], {"64x64": 2}, "fail"),
        (1, [TALL, WIDE], {"64x64": 2}, "pass"),
        (0, [TALL, WIDE], {"64x64": 2}, "n/a"),
    ],
)
def test_aspect_buckets_show_in_the_shapes_of_the_batches(
    tmp_path: Path,
    buckets: int,
    sizes: list[tuple[int, int]],
    seen: dict[str, int],
    status: str,
) -> None:
    images = [f"{number}.jpg" for number in range(len(sizes))]
    (tmp_path / "images/val").mkdir(parents=True)
    for name, size in zip(images, sizes, strict=True):
        assert cv2.imwrite(str(tmp_path / "images/val" / name), np.full((*size, 3), 255, np.uint8))
    (tmp_path / "jsons").mkdir()
    (tmp_path / "jsons/val.json").write_text(json.dumps({"images": {name: {"words": {}} for name in images}}))
    row = judged(tmp_path, tmp_path / "out", [COLD], f"aspect_buckets={buckets}", shapes=seen)["aspect_buckets"]
    assert row.status == status
    assert row.seen == ", ".join(sorted(seen))


def test_a_compiler_that_made_no_graph_fails_the_check(
    synthetic_receipts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompiledForward, "__init__", lambda self, network, mode: None)
    monkeypatch.setattr(CompiledForward, "graphs", 0)
    monkeypatch.setattr(CompiledForward, "declined", "", raising=False)
    monkeypatch.setattr(
        CompiledForward, "__call__", lambda self, images, with_threshold: {"probability_logits": images[:, :1]}
    )
    evaluate(overrides(synthetic_receipts, tmp_path, "model.compile_mode=default", "features.strict=false"))
    assert rows(tmp_path)["compile"]["status"] == "fail"
