"""EXIF orientation: reading it from bytes, and turning pixels and points by the same rule."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ocr.utils.orientation import apply_orientation, displayed_size, orientation_matrix, read_orientation

ORIENTATIONS = range(1, 9)
TAG = 0x0112


def exif(value: int, order: str = "<", kind: int = 3, count: int = 1, other_tags: int = 0) -> bytes:
    """Return an EXIF block with the orientation tag behind ``other_tags`` lower ones."""
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries = b"".join(struct.pack(order + "HHIHH", 0x0100 + i, 3, 1, 7, 0) for i in range(other_tags))
    field = struct.pack(order + {1: "Bxxx", 3: "Hxx", 4: "I"}[kind], value)
    entries += struct.pack(order + "HHI", TAG, kind, count) + field
    return header + struct.pack(order + "H", other_tags + 1) + entries + struct.pack(order + "I", 0)


def picture(block: bytes | None, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    Image.fromarray(pixels).save(stream, kind, **({} if block is None else {"exif": b"Exif\0\0" + block}))
    return stream.getvalue()


def orientation_seen_by_pillow(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif().get(TAG, 1)


@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from("<>"),
    st.sampled_from([3, 4]),
    st.integers(0, 9),
    st.sampled_from(["JPEG", "PNG"]),
)
def test_the_orientation_read_is_the_one_pillow_reads(value: int, order: str, kind: int, other: int, form: str) -> None:
    data = picture(exif(value, order, kind, other_tags=other), form)
    assert read_orientation(data) == orientation_seen_by_pillow(data) == value


@given(st.binary(max_size=200))
def test_garbage_in_the_exif_block_reads_as_one_of_the_eight(block: bytes) -> None:
    app1 = b"Exif\0\0" + block
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + picture(None)[2:]
    assert read_orientation(data) in ORIENTATIONS


@given(st.integers(0, 60), st.sampled_from("<>"))
def test_an_exif_block_cut_anywhere_never_raises(length: int, order: str) -> None:
    app1 = b"Exif\0\0" + exif(6, order, other_tags=2)[:length]
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + picture(None)[2:]
    assert read_orientation(data) in (1, 6)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_at_all_have_an_orientation(data: bytes, start: bytes) -> None:
    assert read_orientation(start + data) in ORIENTATIONS


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (None, 1),  # no EXIF at all
        (exif(0), 1),  # written by some cameras for "unknown"
        (exif(9), 1),
        (exif(6, kind=1), 1),  # a byte, which viewers do not apply either
        (exif(6, count=2), 1),  # two values where one is due
        (b"XX*\0" + exif(6)[4:], 1),  # no such byte order
        (exif(6)[:4] + struct.pack("<I", 5000) + exif(6)[8:], 1),  # directory beyond the end
        (exif(6), 6),
    ],
)
def test_a_missing_or_senseless_value_reads_as_one(block: bytes | None, expected: int) -> None:
    assert read_orientation(picture(block)) == expected


def test_the_first_exif_block_counts_and_other_segments_are_passed_over(tmp_path) -> None:
    xmp = b"\xff\xe1" + struct.pack(">H", 32) + b"http://ns.adobe.com/xap/1.0/\0x"
    body = picture(exif(8))
    file = tmp_path / "receipt.jpg"
    file.write_bytes(body[:2] + b"\xff" + xmp + body[2:])  # one fill byte before the marker, as the standard allows
    assert read_orientation(file) == read_orientation(str(file)) == 8


def test_an_empty_file_has_orientation_one_and_a_missing_one_is_an_error(tmp_path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert read_orientation(tmp_path / "empty.jpg") == 1
    with pytest.raises(FileNotFoundError):
        read_orientation(tmp_path / "absent.jpg")


@given(st.sampled_from(ORIENTATIONS), st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (1,), (3,), (4,)]))
def test_pixels_turn_as_pillow_turns_them(value: int, height: int, width: int, channels: tuple[int, ...]) -> None:
    raw = np.random.default_rng(height * 10 + width).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    before = raw.copy()
    shown = apply_orientation(raw, value)
    planes = raw.reshape(height, width, -1)
    expected = []
    for channel in range(planes.shape[2]):
        image = Image.fromarray(np.ascontiguousarray(planes[..., channel]))
        image.getexif()[TAG] = value
        expected.append(np.asarray(ImageOps.exif_transpose(image)))
    assert np.array_equal(shown.reshape(*shown.shape[:2], -1), np.stack(expected, axis=-1))
    assert shown.shape == (*displayed_size(value, height, width), *channels)
    assert shown.flags.c_contiguous
    assert np.array_equal(raw, before)


@given(st.sampled_from(ORIENTATIONS), st.integers(1, 9), st.integers(1, 9))
def test_the_matrix_carries_every_pixel_centre_to_where_the_pixel_goes(value: int, height: int, width: int) -> None:
    raw = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    shown = apply_orientation(raw, value)
    y, x = np.divmod(np.arange(height * width), width)
    points = np.stack([x + 0.5, y + 0.5, np.ones(height * width)])
    moved = orientation_matrix(value, height, width) @ points
    assert np.array_equal(shown[np.floor(moved[1]).astype(int), np.floor(moved[0]).astype(int)], raw.ravel())


@given(st.sampled_from(ORIENTATIONS), st.integers(1, 999), st.integers(1, 999))
def test_matrices_are_rigid_and_sizes_return(value: int, height: int, width: int) -> None:
    matrix = orientation_matrix(value, height, width)
    assert abs(round(np.linalg.det(matrix[:2, :2]))) == 1
    assert displayed_size(value, *displayed_size(value, height, width)) == (height, width)


@pytest.mark.parametrize("value", [0, 9, -1])
def test_an_orientation_outside_one_to_eight_is_refused_by_value(value: int) -> None:
    for call in (
        lambda: apply_orientation(np.zeros((2, 3), np.uint8), value),
        lambda: orientation_matrix(value, 2, 3),
        lambda: displayed_size(value, 2, 3),
    ):
        with pytest.raises(ValueError, match=f"The orientation is {value}, but EXIF knows 1 to 8"):
            call()
