"""Each benchmark on a handful of rendered receipts: its line, and arms that agree on the same work and data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cleval, forward, loader, matching, postprocess, second_process, targets
from benchmarks.harness import BenchmarkError, digest, labelled_images, median_seconds, split_config, truth_hash
from ocr.datasets.schemas import CacheConfig

Arm = Callable[..., dict[str, Any]]


@pytest.fixture
def arm(synthetic_receipts: Path, capsys: pytest.CaptureFixture[str]) -> Arm:
    """Run one arm on three receipts and return its line."""

    def run(benchmark: Any, name: str, *more: str) -> dict[str, Any]:
        benchmark.main([f"--arm={name}", f"--data={synthetic_receipts}", "--images=3", "--repeats=1", *more])
        line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert line["arm"] == name
        assert line["seconds"] > 0
        return line

    return run


def same_work(*lines: dict[str, Any]) -> None:
    assert len({(line["work"], line["dataset"], line["outputs"]) for line in lines}) == 1


def test_both_target_builders_draw_the_same_pixels(arm: Arm) -> None:
    reference, fast = (arm(targets, name, "--size=256") for name in ("reference", "fast"))
    same_work(reference, fast)
    assert reference["agreement"] == fast["agreement"] > 0.999
    assert fast["threshold_difference"] < 1e-3


def test_both_cleval_implementations_give_the_same_integers(arm: Arm) -> None:
    reference, fast = (arm(cleval, name) for name in ("reference", "fast"))
    same_work(reference, fast)
    assert fast["outputs"]
    assert 0 < reference["cleval_hmean"] < 1, "disturbed boxes neither all match nor all miss"


def test_both_post_processors_find_the_same_boxes(arm: Arm) -> None:
    reference, fast = (arm(postprocess, name, "--size=512") for name in ("reference", "fast"))
    same_work(reference, fast)
    assert reference["minimum_iou"] == fast["minimum_iou"] >= 0.99
    assert fast["boxes"] > 30


def test_every_loader_gives_the_same_epoch(arm: Arm) -> None:
    lines = [arm(loader, name, "--size=160", "--batch=2") for name in loader.ARMS]
    same_work(*lines)
    apart = {line["arm"]: line["mean_difference"] for line in lines}
    assert apart["fast"] == apart["fast_with_maps"] == apart["original"] == 0
    assert apart["reference"] < 1e-3
    assert 0 < apart["canonical"] < 0.01, "a JPEG coded anew is nearly, but not quite, the same"


def test_every_arm_of_the_forward_pass_computes_nearly_the_same(arm: Arm) -> None:
    lines = [arm(forward, name, "--size=96", "--batch=2") for name in ("reference", "channels_last", "fast")]
    same_work(*lines)
    assert lines[0]["largest_difference"] == 0
    assert lines[1]["largest_difference"] < 1e-5
    assert 0 < lines[2]["largest_difference"] < 0.02, "bf16 rounds, and is still the same network"


def test_a_second_process_decodes_nothing_and_gives_the_same_bytes(arm: Arm) -> None:
    reference, fast = (arm(second_process, name, "--size=160", "--batch=2") for name in ("reference", "fast"))
    same_work(reference, fast)
    assert fast["outputs"]
    assert (reference["decodes"], reference["checked"]) == (3, 3)
    assert (fast["decodes"], fast["checked"]) == (0, 0)


def test_the_two_metrics_print_their_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["matching", "--images=2"])
    matching.main()
    assert json.loads(capsys.readouterr().out)["cleval_hmean"] > 0.5


def test_a_merged_detection_lies_around_both_words() -> None:
    words = [np.array([[0, y], [100, y], [100, y + 9], [0, y + 9]], float) for y in range(0, 2000, 10)]
    found = cleval.disturbed(words, np.random.default_rng(1))
    heights = [np.ptp(box[:, 1]) for box in found]
    assert 100 < len(found) < 180
    assert max(heights) > 19


def test_a_lost_box_is_seen_in_the_overlap(synthetic_receipts: Path) -> None:
    generator = np.random.default_rng(0)
    maps = [postprocess.network_like_map(i, 512, generator) for i in labelled_images(synthetic_receipts, 1)]
    (whole,) = postprocess.detect(postprocess.DBPostProcessor(), maps)
    less = postprocess.Detections(whole.polygons[1:], whole.scores[1:])
    assert postprocess.minimum_iou([whole], [whole]) == pytest.approx(1)
    assert postprocess.minimum_iou([whole], [less]) < 0.5


def test_a_wrong_pixel_is_seen_in_the_agreement(synthetic_receipts: Path) -> None:
    images = labelled_images(synthetic_receipts, 1)
    maps = targets.build_maps(targets.TargetBuilder(), images, [images[0].polygons], 64)
    wrong = targets.build_maps(targets.TargetBuilder(), images, [images[0].polygons], 64)
    wrong[0].shrink[0, 0] ^= 1
    assert targets.agreement(maps, maps) == (1, 0)
    assert targets.agreement(maps, wrong)[0] == pytest.approx(1 - 1 / (3 * 64 * 64))


def test_hashes_tell_data_and_results_apart(synthetic_receipts: Path) -> None:
    two, three = labelled_images(synthetic_receipts, 2), labelled_images(synthetic_receipts, 3)
    assert truth_hash(two) != truth_hash(three)
    assert truth_hash(two) == truth_hash(three[:2])
    assert digest([np.zeros((2, 3))]) != digest([np.zeros((3, 2))]) != digest([np.zeros((3, 2), int)])


def test_only_the_passes_after_the_first_are_timed() -> None:
    runs: list[int] = []
    seconds, result = median_seconds(lambda: runs.append(1) or len(runs), 4)
    assert (len(runs), result) == (5, 5)
    assert seconds >= 0


def test_a_folder_without_the_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"jsons/val\.json does not exist; --data is a folder with"):
        split_config(tmp_path, 3, tmp_path, CacheConfig())


@pytest.mark.parametrize("option", ["--images=0", "--repeats=-1", "--images=many"])
def test_a_count_that_is_none_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        targets.main([option])
    assert "no whole number of at least 1" in capsys.readouterr().err
