"""Attacks on the cache of a split: whatever happens to images, labels, configuration, files, disk or processes, every
sample is bit for bit what a run without a cache gets, and none is missing."""

import gc
import hashlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from ocr.datasets import OCRDataset
from ocr.datasets.collate import Batch
from ocr.datasets.schemas import CacheConfig, DatasetConfig, ImageLoadingConfig
from ocr.datasets.split import DatasetError
from ocr.datasets.synthetic import render_dataset
from ocr.datasets.targets import TargetBuilder
from ocr.datasets.transforms import LetterboxTransform, NaiveTransform
from ocr.lightning_modules.data_pl import LoaderConfig, OCRDataModule
from ocr.utils.cache_manager import clear_cache, inspect_tier, read_header, tier_files
from ocr.utils.image_loading import ImageLoader, LoadedImage, PillowLoader

REPOSITORY = Path(__file__).resolve().parents[3]
SIZE = (160, 160)
TIERS = ("images", "tensors", "maps")
TARGETS = TargetBuilder()
pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create",  # more workers than cores
    "ignore:This process .* is multi-threaded, use of fork",
)


def open_split(root: Path, cache: Path, tiers: Sequence[str] = TIERS, **more: Any) -> OCRDataset:
    transform, loader = more.pop("transform", LetterboxTransform(SIZE)), more.pop("loader", None)
    targets = more.pop("targets", TARGETS)
    config = DatasetConfig(
        image_path=root / "images/val",
        annotation_path=root / "jsons/val.json",
        cache_dir=cache,
        cache_config=CacheConfig(
            cache_images="images" in tiers, cache_maps="maps" in tiers, cache_transformed_tensors="tensors" in tiers
        ),
        load_maps="maps" in tiers,
        image_loading_config=ImageLoadingConfig(use_turbojpeg=True, turbojpeg_fallback=True),
        **more,
    )
    return OCRDataset(config, transform, targets, loader)


def digest(split: OCRDataset, index: int) -> str:
    """Everything that the network and the metric get of one sample."""
    sample = split[index]
    assert sample.maps is not None
    parts = [sample.image, sample.matrix, sample.maps.shrink, sample.maps.shrink_mask, sample.maps.threshold]
    parts += [sample.maps.threshold_mask, *sample.polygons, *sample.truth]
    summary = hashlib.sha256(repr((sample.name, sample.ignore, sample.truth_ignore)).encode())
    for part in parts:
        summary.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return summary.hexdigest()


def digests(split: OCRDataset) -> list[str]:
    return [digest(split, index) for index in range(len(split))]


def truth(root: Path, scratch: Path, **config: Any) -> list[str]:
    """What a run without any cache gets from the data as they are now; even the memos of hashes are new."""
    shutil.rmtree(scratch / "nothing", ignore_errors=True)
    plain = {key: value for key, value in config.items() if key not in ("prenormalize_images", "cache_budget_gib")}
    if config.get("prenormalize_images"):  # it needs its tier: a new one, thrown away
        return digests(open_split(root, scratch / "nothing", ("tensors",), prenormalize_images=True, **plain))
    return digests(open_split(root, scratch / "nothing", (), **plain))


def assert_honest(root: Path, cache: Path, scratch: Path, **config: Any) -> list[str]:
    """Two passes and a third one in a dataset opened anew give what a run without a cache gives."""
    expected = truth(root, scratch, **config)
    split = open_split(root, cache, **config)
    assert digests(split) == expected
    assert digests(split) == expected
    again = open_split(root, cache, **config)
    assert digests(again) == expected
    return expected


def assert_sealed_and_intact(cache: Path, tiers: int = len(TIERS)) -> None:
    states = [inspect_tier(path, "verify") for path in tier_files(cache)]
    assert [(state.sealed, state.damaged, state.problem) for state in states] == [(True, [], None)] * tiers


@pytest.fixture
def data(synthetic_receipts: Path, tmp_path: Path) -> Path:
    shutil.copytree(synthetic_receipts, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def warm(data: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A cache with all tiers sealed; the digests that it was filled with."""
    before = assert_honest(data, cache, tmp_path)
    assert_sealed_and_intact(cache)
    return before


def changed_picture(path: Path) -> bytes:
    """The same file with another quantisation step: one byte changes every pixel, and the file still decodes."""
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xdb") + 5] += 9
    return bytes(content)


def pictures(root: Path) -> list[Path]:
    return sorted((root / "images/val").iterdir())


def labels_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "jsons/val.json").read_text())
    return found


def write_labels(root: Path, labels: dict[str, Any]) -> None:
    (root / "jsons/val.json").write_text(json.dumps(labels))


def without_stated_sizes(root: Path) -> None:
    """Take the sizes out of the labels, so that a file may be swapped and `polygon_frame` decides alone."""
    labels = labels_of(root)
    for image in labels["images"].values():
        for key in ("img_w", "img_h"):
            image.pop(key, None)
    write_labels(root, labels)


# --- the data change


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def overwrite_and_restore_times(path: Path, content: bytes) -> None:
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_and_restore_times(path: Path, content: bytes) -> None:
    times = path.stat()
    other = path.with_name("other.tmp")
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("write", [overwrite, overwrite_and_restore_times, replace_and_restore_times])
def test_a_changed_byte_of_an_image_is_seen_also_with_size_and_mtime_as_before(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], write: Callable[[Path, bytes], None]
) -> None:
    picture = pictures(data)[2]
    write(picture, changed_picture(picture))
    after = assert_honest(data, cache, tmp_path)
    assert sum(one != other for one, other in zip(warm, after, strict=True)) == 1


def test_an_edited_label_is_seen_also_with_size_and_mtime_as_before(
    data: Path, cache: Path, tmp_path: Path, warm: list[str]
) -> None:
    file = data / "jsons/val.json"
    labels = labels_of(data)
    word = next(iter(next(iter(labels["images"].values()))["words"].values()))
    word["points"][0][0] += 1.5
    overwrite_and_restore_times(file, json.dumps(labels).encode())
    after = assert_honest(data, cache, tmp_path)
    assert sum(one != other for one, other in zip(warm, after, strict=True)) == 1


def test_two_images_that_swap_their_files_swap_their_samples(
    data: Path, cache: Path, tmp_path: Path, warm: list[str]
) -> None:
    without_stated_sizes(data)
    first, second = pictures(data)[:2]
    shutil.move(first, data / "aside")
    shutil.move(second, first)
    shutil.move(data / "aside", second)
    assert assert_honest(data, cache, tmp_path) != warm


@pytest.mark.parametrize("change", ["added", "removed", "reordered"])
def test_images_added_removed_or_reordered_in_the_annotations_keep_their_own_samples(
    data: Path, cache: Path, tmp_path: Path, change: str
) -> None:
    labels = labels_of(data)
    names = list(labels["images"])
    all_of_them = {name: labels["images"][name] for name in names}

    def listed(chosen: list[str]) -> None:
        write_labels(data, {**labels, "images": {name: all_of_them[name] for name in chosen}})

    before, after = {
        "added": (names[1:], names),
        "removed": (names, [names[0], *names[2:]]),
        "reordered": (names, names[::-1]),
    }[change]
    listed(before)
    one = assert_honest(data, cache, tmp_path)
    listed(after)
    other = assert_honest(data, cache, tmp_path)
    assert len(set(one) & set(other)) == min(len(before), len(after))
    listed(before)
    assert assert_honest(data, cache, tmp_path) == one


def test_an_image_replaced_after_the_start_is_an_error_and_never_enters_the_cache_of_the_old_one(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    before = truth(data, tmp_path)
    picture = pictures(data)[1]
    original = picture.read_bytes()
    split = open_split(data, cache)
    overwrite_and_restore_times(picture, changed_picture(picture))
    for index, name in enumerate(split.names):
        if name == picture.name:
            with pytest.raises(DatasetError, match=rf"{picture.name} changed .* start the run again"):
                split[index]
        else:
            assert digest(split, index) == before[index]
    picture.write_bytes(original)
    assert assert_honest(data, cache, tmp_path) == before


def test_an_image_of_another_size_put_there_after_the_start_is_not_squeezed_into_the_old_one(
    data: Path, cache: Path
) -> None:
    split = open_split(data, cache, ())
    other = next(index for index, size in enumerate(split.sizes) if size != split.sizes[0])
    shutil.copyfile(data / "images/val" / split.names[other], data / "images/val" / split.names[0])
    with pytest.raises(DatasetError, match="changed"):
        split[0]


def test_an_image_copied_anew_after_the_start_with_the_same_bytes_is_the_same_image(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    before = truth(data, tmp_path)
    split = open_split(data, cache)
    for picture in pictures(data):
        replace_and_restore_times(picture, picture.read_bytes())
    assert digests(split) == before


class SwapsWhileChecking(ImageLoader):
    """Puts a broken file in the place of an image between the hash of its bytes and the check of its decoding."""

    victim: Path
    original: bytes

    def load(self, path: str | Path) -> LoadedImage:
        if Path(path) == self.victim:
            self.victim.write_bytes(self.original[:3000])
        return super().load(path)


def test_a_file_caught_in_mid_copy_does_not_brand_its_later_content_as_broken(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = truth(data, tmp_path)
    loader = SwapsWhileChecking()
    loader.victim = pictures(data)[0]
    loader.original = loader.victim.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("ocr.utils.image_loading._default_loader", lambda: loader)
        with pytest.raises(DatasetError):
            open_split(data, cache)
    loader.victim.write_bytes(loader.original)
    assert assert_honest(data, cache, tmp_path) == before


# --- the configuration changes


class Inverting(PillowLoader):
    """A decoder with other pixels, so that an old cache would show."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder_name = "inverting 1"

    def __call__(self, path: str | Path) -> np.ndarray:
        return 255 - super().__call__(path)


CHANGES: dict[str, dict[str, Any]] = {
    "image_size": {"transform": LetterboxTransform((192, 160))},
    "aspect_buckets": {"aspect_buckets": 2},
    "image_long_side": {"image_long_side": 300},
    "prenormalize_images": {"prenormalize_images": True},
    "shrink_ratio": {"targets": TargetBuilder(shrink_ratio=0.4)},
    "min_text_px": {"targets": TargetBuilder(min_text_px=1.0)},
    "threshold_max": {"targets": TargetBuilder(threshold_max=0.6)},
    "polygon_frame": {"polygon_frame": "raw"},
    "transform": {"transform": NaiveTransform(SIZE)},
    "decoder": {"loader": Inverting()},
}


@pytest.mark.parametrize("key", list(CHANGES))
def test_a_changed_configuration_never_meets_the_samples_of_the_old_one(
    data: Path, cache: Path, tmp_path: Path, key: str
) -> None:
    without_stated_sizes(data)
    before = assert_honest(data, cache, tmp_path)
    assert assert_honest(data, cache, tmp_path, **CHANGES[key]) != before
    assert assert_honest(data, cache, tmp_path) == before


@pytest.mark.parametrize("tiers", [("images",), ("tensors",), ("maps",), ("images", "tensors")], ids=str)
@pytest.mark.parametrize("key", ["aspect_buckets", "image_long_side", "transform"])
def test_any_choice_of_tiers_gives_the_samples_of_none(
    data: Path, cache: Path, tmp_path: Path, tiers: tuple[str, ...], key: str
) -> None:
    expected = truth(data, tmp_path, **CHANGES[key])
    for _ in range(2):
        split = open_split(data, cache, tiers, **CHANGES[key])
        assert digests(split) == expected
        assert digests(split) == expected


# --- the files are damaged


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999999])
def test_a_truncated_tier_is_built_again(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], tier: str, kept: float
) -> None:
    (file,) = cache.glob(f"{tier}-*.cache")
    file.chmod(0o644)
    os.truncate(file, int(file.stat().st_size * kept))
    assert assert_honest(data, cache, tmp_path) == warm
    open_split(data, cache).cache_prepare()
    assert_sealed_and_intact(cache)


SLOT_BYTES = 117
"""State, checksum, offset, length and twelve numbers, packed."""


FLIPS = [(0, 0), (0, 1), (1, 3), (5, 6), (5, 7), (6, 0), (8, 7), (12, 0), (13, 0), (14, 1), (20, 7), (21, 0)]
"""Byte within a slot's row and bit: state, checksum, offset, length, numbers."""


@pytest.mark.parametrize(
    ("tier", "place", "bit"),
    [("images", 5, 6), ("images", 13, 0), ("maps", 5, 6), ("maps", 13, 0), *(("tensors", *flip) for flip in FLIPS)],
)
def test_a_flipped_bit_in_the_slot_table_of_a_sealed_file_spoils_neither_its_slot_nor_the_next(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], tier: str, place: int, bit: int
) -> None:
    (file,) = cache.glob(f"{tier}-*.cache")
    header = read_header(file)
    table = -(-(24 + header["header_length"]) // 64) * 64
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.seek(table + SLOT_BYTES + place)
        (byte,) = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1 << bit]))
    file.chmod(0o444)
    split = open_split(data, cache)
    split.cache_prepare()
    assert digests(split) == warm
    assert digests(open_split(data, cache, ("images",))) == warm
    assert_sealed_and_intact(cache)


def test_a_slot_table_that_is_damaged_under_a_running_reader_moves_nothing(
    data: Path, cache: Path, tmp_path: Path, warm: list[str]
) -> None:
    split = open_split(data, cache)
    assert split._images is not None
    file = split._images.path
    file.chmod(0o644)
    table = -(-(24 + read_header(file)["header_length"]) // 64) * 64
    with file.open("r+b") as stream:  # the offset of slot 1 becomes that of slot 2, then the tensors are gone
        stream.seek(table + 2 * SLOT_BYTES + 5)
        offset = stream.read(8)
        stream.seek(table + SLOT_BYTES + 5)
        stream.write(offset)
    split._tensors = None
    assert digests(split) == warm
    assert digests(split) == warm


@pytest.mark.parametrize("tier", TIERS)
def test_a_flipped_bit_anywhere_in_the_head_of_a_file_is_survived(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], tier: str
) -> None:
    (file,) = cache.glob(f"{tier}-*.cache")
    for place in (0, 8, 12, 16, 22, 40):
        (file,) = cache.glob(f"{tier}-*.cache")
        file.chmod(0o644)
        content = bytearray(file.read_bytes())
        content[place] ^= 4
        file.write_bytes(content)
        split = open_split(data, cache)
        split.cache_prepare()
        assert digests(split) == warm
        assert_sealed_and_intact(cache)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"x": 1}', b"\xff\xfe\x00"])
def test_memos_that_were_torn_or_overwritten_cost_time_and_nothing_else(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], content: bytes
) -> None:
    (cache / "decode_reports.json").write_bytes(content)
    assert assert_honest(data, cache, tmp_path) == warm


def test_a_verdict_of_another_decoder_version_is_not_believed(
    data: Path, cache: Path, tmp_path: Path, warm: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older OpenCV could not decode, this one may."""
    memo = cache / "decode_reports.json"
    with monkeypatch.context() as patch:
        memo.unlink()
        patch.setattr("cv2.__version__", "0.0.1")
        patch.setattr("ocr.utils.image_loading._jpeg_is_complete", lambda content: False)
        with pytest.raises(DatasetError, match="5 of 5 images"):
            open_split(data, cache)
    assert assert_honest(data, cache, tmp_path) == warm


# --- processes: killed, at once, forked


def run_child(task: str, *arguments: object, prefix: Sequence[str] = (), **popen: Any) -> subprocess.Popen[str]:
    """Start a real process that runs a function of this module."""
    code = f"import sys; from tests.ocr.datasets.test_cache_attacks import {task}; {task}(*sys.argv[1:])"
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, **popen)


def answer(child: subprocess.Popen[str]) -> Any:
    try:
        out, _ = child.communicate(timeout=500)
    finally:
        child.kill()
    assert child.returncode == 0
    return json.loads(out.splitlines()[-1])


def tell(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def fill_slowly(root: str, cache: str) -> None:
    split = open_split(Path(root), Path(cache))
    for index in range(len(split)):
        split[index]
        tell(done=index)
        sys.stdin.readline()


def fill_and_tell(root: str, cache: str, *tiers: str) -> None:
    """Open, wait for the start signal, fill, and tell what every sample was and how often an image was decoded."""
    decoded = []
    load = ImageLoader.load

    def counting(self: ImageLoader, path: str | Path) -> LoadedImage:
        decoded.append(str(path))
        return load(self, path)

    ImageLoader.load = counting  # type: ignore[method-assign]
    tell(ready=True)
    sys.stdin.readline()
    split = open_split(Path(root), Path(cache), tiers or TIERS, preload_images=not tiers or "images" in tiers)
    split.prepare()
    found = [digests(split), digests(split)]
    tell(found=found, decoded=len(decoded), declined=split.report.declined, preloaded=split.report.preloaded)


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def start_filling(data: Path, cache: Path, *tiers: str, **more: Any) -> subprocess.Popen[str]:
    child = run_child("fill_and_tell", data, cache, *tiers, stdin=subprocess.PIPE, **more)
    assert child.stdout is not None
    assert json.loads(child.stdout.readline()) == {"ready": True}
    return child


def test_a_builder_killed_while_it_fills_leaves_what_it_finished_and_nothing_wrong(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    child = run_child("fill_slowly", data, cache, stdin=subprocess.PIPE)
    assert child.stdout is not None
    for done in range(2):
        assert json.loads(child.stdout.readline()) == {"done": done}
        go(child)
    child.kill()  # it is now somewhere in the third image
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    full = {path.name.split("-")[0]: inspect_tier(path, "verify").full for path in tier_files(cache)}
    assert min(full.values()) >= 2
    assert_honest(data, cache, tmp_path)
    assert_sealed_and_intact(cache)


def die_at_rename(root: str, cache: str, suffix: str) -> None:
    rename = os.replace

    def rename_or_die(source: Any, target: Any) -> None:
        if str(target).endswith(suffix) and "images-" in str(target):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = rename_or_die
    digests(open_split(Path(root), Path(cache)))


@pytest.mark.parametrize("moment", [".partial", ".cache"], ids=["making the file", "sealing it"])
def test_a_builder_killed_at_a_transition_leaves_a_tier_that_the_next_run_completes(
    data: Path, cache: Path, tmp_path: Path, moment: str
) -> None:
    child = run_child("die_at_rename", data, cache, moment)
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL
    assert_honest(data, cache, tmp_path)
    assert_sealed_and_intact(cache)
    assert not list(cache.glob("*.tmp"))


def test_two_builders_at_once_leave_one_sealed_file_per_tier(data: Path, cache: Path, tmp_path: Path) -> None:
    children = [start_filling(data, cache) for _ in range(2)]
    for child in children:
        go(child)
    expected = truth(data, tmp_path)
    for child in children:
        assert answer(child)["found"] == [expected, expected]
    assert_sealed_and_intact(cache)


def test_a_second_process_decodes_no_image_not_even_to_construct_and_preload(
    data: Path, cache: Path, warm: list[str]
) -> None:
    child = start_filling(data, cache)
    go(child)
    told = answer(child)
    assert told == {"found": [warm, warm], "decoded": 0, "declined": {}, "preloaded": len(warm)}


@pytest.mark.parametrize("tier", TIERS)
def test_preparing_from_one_full_tier_decodes_nothing_that_it_need_not(
    data: Path, cache: Path, tmp_path: Path, tier: str
) -> None:
    more = {"preload_images": tier == "images", "preload_maps": tier == "maps"}
    open_split(data, cache, (tier,), **more).cache_prepare()
    assert_sealed_and_intact(cache, 1)
    split = open_split(data, cache, (tier,), loader=RefusingLoader(), **more)
    split.prepare()


class RefusingLoader(ImageLoader):
    """Counts as the usual decoder, and must not be called."""

    def __call__(self, path: str | Path) -> np.ndarray:
        raise AssertionError(f"decoded {path}")


def test_preparing_fills_the_image_tier_also_where_the_tensors_are_there_already(data: Path, cache: Path) -> None:
    open_split(data, cache, ("tensors",)).cache_prepare()
    open_split(data, cache).cache_prepare()
    assert_sealed_and_intact(cache)


def batches(split: OCRDataset, **loader: Any) -> OCRDataModule:
    return OCRDataModule(None, split, 2, LoaderConfig(**loader), on_gpu=False)


def digest_of_batch(batch: Batch) -> str:
    assert batch.targets is not None
    arrays = [batch.images.numpy(), batch.matrices, *(batch.targets[name].numpy() for name in sorted(batch.targets))]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_two_loaders_that_fill_the_same_slots_agree(
    data: Path, cache: Path, tmp_path: Path, method: str
) -> None:
    plain = [digest_of_batch(batch) for batch in batches(open_split(data, tmp_path / "plain", ())).val_dataloader()]
    split = open_split(data, cache)
    loaders = [
        batches(split, num_workers=2, multiprocessing_context=method).val_dataloader() for _ in range(2)
    ]  # both at once
    for one, other, expected in zip(*loaders, plain, strict=True):
        assert digest_of_batch(one) == digest_of_batch(other) == expected
    assert_sealed_and_intact(cache)


def test_a_process_forked_after_the_tiers_were_opened_shares_them_both_ways(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    expected = truth(data, tmp_path)
    split = open_split(data, cache)
    digest(split, 0)
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def fill_the_rest() -> None:
        sender.send(digests(split))

    child = multiprocessing.get_context("fork").Process(target=fill_the_rest)
    child.start()
    assert receiver.recv() == expected
    child.join()
    assert [split[index].cache["tensors"] for index in range(1, len(split))] == [
        (1, 0, split[index].image.nbytes) for index in range(1, len(split))
    ]
    assert digests(split) == expected
    assert_sealed_and_intact(cache)


# --- files that vanish while a run reads them


def vanish_by_clear(cache: Path) -> None:
    clear_cache(cache)


def vanish_by_removing_the_folder(cache: Path) -> None:
    shutil.rmtree(cache)


def vanish_and_let_nothing_come_back(cache: Path) -> None:
    shutil.rmtree(cache)
    cache.write_text("a file where the folder was")


VANISH = [vanish_by_clear, vanish_by_removing_the_folder, vanish_and_let_nothing_come_back]


@pytest.mark.parametrize("vanish", VANISH)
@pytest.mark.parametrize("filled", [0, 3, 5])
def test_a_tier_cleared_while_a_run_reads_it_costs_no_sample(
    data: Path, cache: Path, tmp_path: Path, vanish: Callable[[Path], None], filled: int
) -> None:
    expected = truth(data, tmp_path)
    split = open_split(data, cache)
    assert [digest(split, index) for index in range(filled)] == expected[:filled]
    vanish(cache)
    assert digests(split) == expected
    if cache.is_dir():
        assert_honest(data, cache, tmp_path)
        assert digests(split) == expected
        assert_sealed_and_intact(cache)


@pytest.mark.parametrize("vanish", VANISH)
def test_a_worker_that_starts_after_the_tier_was_cleared_goes_on(
    data: Path, cache: Path, tmp_path: Path, vanish: Callable[[Path], None]
) -> None:
    """What spawn and forkserver do: the dataset travels as bytes and opens its tiers again."""
    expected = truth(data, tmp_path)
    split = open_split(data, cache)
    digest(split, 0)
    sent = pickle.dumps(split)
    vanish(cache)
    received: OCRDataset = pickle.loads(sent)
    assert digests(received) == expected
    assert digests(split) == expected


def test_clearing_again_and_again_under_a_running_reader_never_shows(data: Path, cache: Path, tmp_path: Path) -> None:
    expected = truth(data, tmp_path)
    stop = threading.Event()

    def clear() -> None:
        while not stop.wait(0.01):
            clear_cache(cache)

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        for _ in range(4):
            assert digests(open_split(data, cache)) == expected
    finally:
        stop.set()
        thread.join()


# --- no room, no permission


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_disk_without_room_for_a_tier_costs_the_tier_and_no_sample(data: Path, cache: Path, tmp_path: Path) -> None:
    child = start_filling(data, cache, preexec_fn=limit_file_size)
    go(child)
    told, expected = answer(child), truth(data, tmp_path)
    assert told["found"] == [expected, expected]
    assert set(told["declined"]) == {f"{tier} tier" for tier in TIERS}
    assert all("free some space" in why for why in told["declined"].values())
    assert tier_files(cache) == []
    assert not list(cache.glob("*.tmp"))


def in_own_mounts(commands: str) -> list[str]:
    """Prefix of a command that first mounts something for itself alone; skip where that is not allowed."""
    with suppress(OSError):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0:
            return ["unshare", "-m", "sh", "-e", "-c", f'{commands}; exec "$@"', "sh"]
    pytest.skip("needs the right to mount")


def test_a_small_file_system_keeps_the_tiers_that_fit(data: Path, cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    # 5 inputs of 160 x 160: tensors 375 KiB, maps 625 KiB; the images are several MiB.
    child = start_filling(data, cache, prefix=in_own_mounts(f"mount -t tmpfs -o size=700k none {cache}"))
    go(child)
    told, expected = answer(child), truth(data, tmp_path)
    assert told["found"] == [expected, expected]
    assert set(told["declined"]) == {"images tier", "maps tier"}


def read_only(folder: Path) -> list[str]:
    return in_own_mounts(f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}")


@pytest.mark.parametrize("filled", [None, 0, 3, 5])
def test_a_read_only_folder_serves_what_it_holds_and_loses_nothing(
    data: Path, cache: Path, tmp_path: Path, filled: int | None
) -> None:
    cache.mkdir()
    if filled is not None:
        split = open_split(data, cache)
        for index in range(filled):
            split[index]
        del split
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    child = start_filling(data, cache, prefix=read_only(cache))
    go(child)
    told, expected = answer(child), truth(data, tmp_path)
    assert told["found"] == [expected, expected]
    assert set(told["declined"]) == (set() if filled == 5 else {f"{tier} tier" for tier in TIERS})
    assert (told["decoded"] == 0) == (filled == 5)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_damage_in_a_read_only_folder_costs_decoding_and_no_sample(
    data: Path, cache: Path, tmp_path: Path, warm: list[str]
) -> None:
    for file in tier_files(cache):
        file.chmod(0o644)
        with file.open("r+b") as stream:
            stream.seek(-5000, os.SEEK_END)
            stream.write(b"damage")
    child = start_filling(data, cache, prefix=read_only(cache))
    go(child)
    assert answer(child)["found"] == [warm, warm]


def become_somebody_else(root: str, cache: str) -> None:
    with tempfile.TemporaryDirectory() as other:  # whatever is imported late may be readable for root alone
        digests(open_split(Path(root), Path(other)))
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    fill_and_tell(root, cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become two users")
@pytest.mark.parametrize("filled", [0, 3, 5])
def test_a_folder_of_two_users_serves_the_second_one(synthetic_receipts: Path, tmp_path: Path, filled: int) -> None:
    # Pytest's own folders are for the user who runs it alone.
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        data, cache = folder / "data", folder / "cache"
        shutil.copytree(synthetic_receipts, data)
        expected = truth(data, tmp_path)
        split = open_split(data, cache)
        assert [digest(split, index) for index in range(filled)] == expected[:filled]
        cache.chmod(0o1777)  # as /tmp: everyone may add, nobody may rename what is another's
        for file in tier_files(cache):
            if file.suffix == ".partial":
                file.chmod(0o666)
        child = run_child("become_somebody_else", data, cache, stdin=subprocess.PIPE)
        go(child)
        assert answer(child)["found"] == [expected, expected]
        assert digests(split) == expected
        assert_honest(data, cache, tmp_path)


# --- a budget


@pytest.mark.parametrize("mebibytes", [0.01, 0.5, 1.2, 4, 4000])
def test_a_budget_that_is_too_small_costs_tiers_and_no_sample(
    data: Path, cache: Path, tmp_path: Path, mebibytes: float
) -> None:
    assert_honest(data, cache, tmp_path, cache_budget_gib=mebibytes / 1024)
    assert sum(path.stat().st_size for path in tier_files(cache)) <= mebibytes * 2**20
    split = open_split(data, cache, cache_budget_gib=mebibytes / 1024)
    assert all("cache_budget_gib" in why for why in split.report.declined.values())
    assert bool(split.report.declined) == (mebibytes < 4000)


def fill_within_budget(root: str, cache: str, side: str, mebibytes: str) -> None:
    tell(ready=True)
    sys.stdin.readline()
    size = LetterboxTransform((int(side), int(side)))
    split = open_split(
        Path(root), Path(cache), ("tensors", "maps"), transform=size, cache_budget_gib=float(mebibytes) / 1024
    )
    found = digests(split)
    taken = sum(path.stat().st_size for path in tier_files(Path(cache)))
    tell(found=[found, digests(split)], taken=taken)
    sys.stdin.readline()


def test_two_processes_that_share_a_budget_keep_it_together(data: Path, cache: Path, tmp_path: Path) -> None:
    sides, budget = (160, 192), 1.5
    children = [
        run_child("fill_within_budget", data, cache, side, budget, stdin=subprocess.PIPE) for side in sides
    ]  # the tiers of either fit, of both do not
    for child in children:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == {"ready": True}
    for child in children:
        go(child)
    told = []
    for child in children:
        assert child.stdout is not None
        told.append(json.loads(child.stdout.readline()))
    for child in children:
        child.communicate("done\n", timeout=60)
    for side, item in zip(sides, told, strict=True):
        expected = truth(data, tmp_path, transform=LetterboxTransform((side, side)))
        assert item["found"] == [expected, expected]
        assert item["taken"] <= budget * 2**20


# --- memory


def proportional_bytes() -> int:
    """PSS of this process and all it started: what they take together, with shared pages counted once."""
    taken = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            taken += process.memory_full_info().pss
    return taken


def measure_memory(root: str, cache: str, method: str) -> None:
    """Tell the PSS with 0, 2 and 4 workers while they share a tier, and with 0 and 2 without one.

    Each worker reads its share of the slots, the main process reads them all.
    """
    if method == "forkserver":
        multiprocessing.set_forkserver_preload(["ocr.lightning_modules.data_pl"])
        multiprocessing.forkserver.ensure_running()
    taken = {}
    # Two workers come first: what starting them leaves in the main process belongs to the constant.
    for tiers, numbers in (((), (2, 0)), (("tensors",), (0, 2, 4))):
        split = open_split(Path(root), Path(cache), tiers, transform=LetterboxTransform(LARGE), targets=None)
        for workers in numbers:
            how = {"multiprocessing_context": method, "persistent_workers": True} if workers else {}
            passes = OCRDataModule(None, split, 1, LoaderConfig(num_workers=workers, **how), False).val_dataloader()
            for index, batch in enumerate(passes):
                assert torch.equal(batch.images[0].permute(1, 2, 0), torch.from_numpy(split[index].image.copy()))
            taken[f"{len(tiers)} tiers, {workers} workers"] = proportional_bytes()
            del passes
            gc.collect()
            psutil.wait_procs(workers_of_this_process(), timeout=300)
            assert not workers_of_this_process()
    tell(taken=taken)


def workers_of_this_process() -> list[psutil.Process]:
    """All descendants but the two helpers that multiprocessing starts once, as direct children."""
    helpers = ("forkserver", "resource_tracker")
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.ppid() != os.getpid() or not any(helper in " ".join(process.cmdline()) for helper in helpers)
    ]


LARGE = (2048, 1024)


@pytest.fixture(scope="module")
def large_receipts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten receipts as inputs of 6 MiB each, in a sealed tier of 60 MiB."""
    root = render_dataset(tmp_path_factory.mktemp("large") / "receipts", seed=5, train=0, val=10, test=0)
    cache = root.parent / "cache"
    open_split(root, cache, ("tensors",), transform=LetterboxTransform(LARGE), targets=None).cache_prepare()
    return root, cache


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_share_one_copy_of_a_tier_whatever_their_number(large_receipts: tuple[Path, Path], method: str) -> None:
    root, cache = large_receipts
    taken = answer(run_child("measure_memory", root, cache, method))["taken"]
    (file,) = tier_files(cache)
    main, worker = taken["0 tiers, 0 workers"], (taken["0 tiers, 2 workers"] - taken["0 tiers, 0 workers"]) / 2
    for workers in (0, 2, 4):
        constant = main + workers * worker + 24 * 2**20
        assert taken[f"1 tiers, {workers} workers"] <= 1.05 * file.stat().st_size + constant, taken
