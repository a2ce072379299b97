"""One file, one picture: every decoder gives the same pixels, the same verdict and the same words."""

import io
import logging
import pickle
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ocr.utils.image_loading import (
    DecoderMissingError,
    ImageDecodeError,
    ImageLoader,
    PillowLoader,
    check_image,
    probe_image,
)
from ocr.utils.orientation import apply_orientation

LOADERS = [ImageLoader(), ImageLoader(use_turbojpeg=False), PillowLoader()]
HAS_TURBOJPEG = LOADERS[0].decoder_name.startswith("turbojpeg")


def smooth_noise(height: int = 61, width: int = 83) -> Image.Image:
    grid = np.random.default_rng(3).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def oriented(value: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(smooth_noise(), kind, exif=exif)


def with_bad_bits(data: bytes) -> bytes:
    """Overwrite entropy-coded bytes with a run of ones (0xff is stored as ff 00), which no Huffman table assigns."""
    start = len(data) * 2 // 3
    return data[:start] + b"\xff\x00" * 16 + data[start + 32 :]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "receipt.jpg"


def outcomes(file: Path) -> list[np.ndarray | str]:
    """Pixels or the error text of each loader."""
    found: list[np.ndarray | str] = []
    for loader in LOADERS:
        try:
            found.append(loader(file))
        except ImageDecodeError as problem:
            found.append(str(problem))
    return found


def assert_all_alike(found: list[np.ndarray | str]) -> None:
    first = found[0]
    for other in found[1:]:
        assert type(other) is type(first)
        assert np.array_equal(other, first) if isinstance(first, np.ndarray) else other == first


def assert_same_picture(file: Path) -> np.ndarray:
    found = outcomes(file)
    assert_all_alike(found)
    first = found[0]
    assert isinstance(first, np.ndarray), first
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert first.shape[2] == 3
    return first


def assert_same_error(file: Path) -> str:
    found = outcomes(file)
    assert_all_alike(found)
    assert isinstance(found[0], str)
    report = check_image(file)
    assert not report.ok
    assert found[0] == f"The image {file} cannot be decoded: {report.error}."
    return found[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("value", range(1, 9))
def test_each_orientation_is_applied_exactly_once_by_every_decoder(file: Path, value: int, kind: str) -> None:
    file.write_bytes(oriented(1, kind))
    upright = LOADERS[2](file)
    file.write_bytes(oriented(value, kind))
    shown = assert_same_picture(file)
    assert np.array_equal(shown, apply_orientation(upright, value))
    header = probe_image(file)
    assert (header.height, header.width, header.orientation) == (*shown.shape[:2], value)
    assert (header.raw_height, header.raw_width) == upright.shape[:2]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"progressive": True}),
        ("RGB", {"optimize": True, "quality": 20}),
        ("RGB", {"keep_rgb": True}),  # stored without the YCbCr step
        ("L", {}),
        ("L", {"progressive": True}),
        ("CMYK", {}),  # TurboJPEG itself refuses this one
    ],
)
def test_every_usual_kind_of_jpeg_gives_the_same_pixels(file: Path, mode: str, options: dict) -> None:
    file.write_bytes(encoded(smooth_noise().convert(mode), **options))
    shown = assert_same_picture(file)
    assert shown.shape == (61, 83, 3)
    truth = np.asarray(smooth_noise().convert(mode).convert("RGB"), dtype=float)
    assert np.abs(shown - truth).mean() < 12
    assert check_image(file).ok


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "I;16"])
def test_every_usual_kind_of_png_gives_the_same_pixels(file: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.linspace(0, 65535, 61 * 83).astype(np.uint16).reshape(61, 83))
    else:
        image = smooth_noise().convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(smooth_noise().convert("L"))
    file.write_bytes(encoded(image, "PNG"))
    shown = assert_same_picture(file)
    assert shown.max() > 200


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 1, 2]), st.sampled_from(["RGB", "L"]))
def test_odd_sizes_give_the_same_pixels(file: Path, height: int, width: int, subsampling: int, mode: str) -> None:
    file.write_bytes(encoded(smooth_noise(height, width).convert(mode), subsampling=subsampling))
    assert assert_same_picture(file).shape == (height, width, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_of_any_kind_is_judged_alike_by_every_decoder(file: Path, data: st.DataObject) -> None:
    options = data.draw(st.sampled_from([{}, {"progressive": True}, {"kind": "PNG"}]))
    raw = bytearray(encoded(smooth_noise(), **options))
    place = data.draw(st.integers(2, len(raw) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=8))
    match data.draw(st.sampled_from(["overwrite", "insert", "cut"])):
        case "overwrite":
            raw[place : place + len(junk)] = junk
        case "insert":
            raw[place:place] = junk
        case "cut":
            del raw[place:]
    file.write_bytes(raw)
    found = outcomes(file)
    assert_all_alike(found)
    assert check_image(file).ok is isinstance(found[0], np.ndarray)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"kind": "PNG"}])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_an_error_that_says_so(file: Path, options: dict, kept: float) -> None:
    data = encoded(smooth_noise(300, 200), **options)
    file.write_bytes(data[: int(len(data) * kept)])
    message = assert_same_error(file)
    assert str(file) in message
    assert "truncated" in message or "ends before" in message
    assert "copy the file again" in message


def test_a_jpeg_without_its_last_two_bytes_is_truncated_and_one_with_bytes_to_spare_is_not(file: Path) -> None:
    data = encoded(smooth_noise())
    file.write_bytes(data[:-2])
    assert "truncated" in assert_same_error(file)
    file.write_bytes(data + b"\0" * 50)
    assert_same_picture(file)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_with_bad_bits_is_kept_with_the_same_pixels_everywhere(file: Path, options: dict) -> None:
    file.write_bytes(with_bad_bits(encoded(smooth_noise(300, 200), quality=95, **options)))
    assert_same_picture(file)
    report = check_image(file)
    assert report.ok
    assert report.error is None
    if HAS_TURBOJPEG:
        assert report.warning is not None
        assert "Corrupt JPEG data" in report.warning
        assert LOADERS[0].load(file).warning == report.warning


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.7])
def test_a_progressive_jpeg_with_lost_scans_gives_the_same_pixels_everywhere(file: Path, kept: float) -> None:
    # Library versions smooth missing coefficients differently, so one decoder must have the last word.
    data = encoded(smooth_noise(300, 200), progressive=True, quality=85)
    file.write_bytes(data[: int(len(data) * kept)] + b"\xff\xd9")
    assert_all_alike(outcomes(file))


def test_a_warning_belongs_to_its_file_and_not_to_the_next(file: Path) -> None:
    file.write_bytes(with_bad_bits(encoded(smooth_noise(300, 200), quality=95)))
    check_image(file)
    for data in (encoded(smooth_noise()), encoded(smooth_noise(), "PNG"), encoded(smooth_noise().convert("CMYK"))):
        file.write_bytes(data)
        assert check_image(file).warning is None


def test_decoder_warnings_stay_out_of_python_warnings_even_under_threads(file: Path) -> None:
    file.write_bytes(with_bad_bits(encoded(smooth_noise(300, 200), quality=95)))
    seen: list[bool] = []
    filters = list(warnings.filters)
    threads = [threading.Thread(target=lambda: seen.append(check_image(file).ok)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8
    assert warnings.filters == filters


def test_the_real_receipt_with_a_bad_huffman_code_is_kept_with_its_warning(shared_receipts: Path) -> None:
    file = shared_receipts / "images/val/sroie_427.jpg"
    report = check_image(file)
    assert report.ok
    if HAS_TURBOJPEG:
        assert report.warning == "Corrupt JPEG data: 33 extraneous bytes before marker 0xd9"


def test_real_receipts_give_the_same_pixels_through_every_decoder(shared_receipts: Path) -> None:
    for file in sorted((shared_receipts / "images/val").iterdir())[:12]:
        assert_same_picture(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is neither a JPEG nor a PNG file (it starts with nothing)"),
        (b"hello receipts", "it starts with 68 65 6c 6c"),
        (b"\xff\xd8", "ends before its picture begins"),
        (b"\xff\xd8\xff\xd9", "ends before its picture begins"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "neither a JPEG nor a PNG"),
        (b"\xff\xd8\xff\xc3\x00\x11\x08\x00\x10\x00\x10\x03" + bytes(30), "no decoder here reads this kind of JPEG"),
        (b"\xff\xd8\xff\xc0\x00\x11\x0c\x00\x10\x00\x10\x03" + bytes(30), "12 bits"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x10\x03" + bytes(30), "a size of 0 x 16 pixels"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(30), "more than the 89,478,485 allowed"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    assert words in assert_same_error(file)


def test_a_png_with_a_wrong_checksum_or_a_short_stream_is_refused(file: Path) -> None:
    data = bytearray(encoded(smooth_noise(), "PNG"))
    data[60] ^= 1
    file.write_bytes(data)
    assert "a PNG chunk is missing or wrong" in assert_same_error(file)
    chunk = b"IDAT" + zlib.compress(b"\0" * 100)
    head = encoded(smooth_noise(), "PNG")[:33]
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    body = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    file.write_bytes(head + body + end)
    assert_all_alike(outcomes(file))


def test_a_missing_file_and_a_folder_are_errors_with_a_way_out(tmp_path: Path) -> None:
    assert "does not exist; check image_path" in assert_same_error(tmp_path / "absent.jpg")
    assert "cannot be read" in assert_same_error(tmp_path)
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(ImageDecodeError):
            probe_image(path)


def test_probing_an_empty_file_is_an_error(file: Path) -> None:
    file.write_bytes(b"")
    with pytest.raises(ImageDecodeError, match="it is empty"):
        probe_image(file)


def test_without_the_library_opencv_takes_over_and_says_so_once(
    file: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file.write_bytes(oriented(6))
    library = str(tmp_path / "libturbojpeg.so.0")
    with caplog.at_level(logging.WARNING):
        loaders = [ImageLoader(turbojpeg_library=library) for _ in range(3)]
    assert len([line for line in caplog.messages if "TurboJPEG is not available" in line]) == 1
    assert loaders[0].decoder_name.startswith("opencv ")
    assert loaders[0].fallback_reason is not None
    assert library in loaders[0].fallback_reason
    assert np.array_equal(loaders[0](file), PillowLoader()(file))


def test_without_the_library_and_without_leave_to_fall_back_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DecoderMissingError, match=r"apt install libturbojpeg0.*turbojpeg_fallback=true"):
        ImageLoader(turbojpeg_fallback=False, turbojpeg_library=str(tmp_path / "no.so"))


def test_not_asking_for_turbojpeg_is_no_fallback() -> None:
    loader = ImageLoader(use_turbojpeg=False)
    assert loader.fallback_reason is None
    assert loader.decoder_name.startswith("opencv ")


@pytest.mark.skipif(not HAS_TURBOJPEG, reason="libturbojpeg is not installed")
def test_the_decoder_name_carries_the_library_version() -> None:
    assert LOADERS[0].decoder_name.removeprefix("turbojpeg ").replace(".", "").isdigit()


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.decoder_name.split()[0])
def test_loaders_and_their_errors_survive_pickling(file: Path, loader: ImageLoader | PillowLoader) -> None:
    file.write_bytes(oriented(3))
    copy = pickle.loads(pickle.dumps(loader))
    assert np.array_equal(copy(file), loader(file))
    assert len(pickle.dumps(loader)) < 500
    problem = pickle.loads(pickle.dumps(ImageDecodeError("a.jpg", "it is broken")))
    assert str(problem) == "The image a.jpg cannot be decoded: it is broken."
