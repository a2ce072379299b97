"""Label files: every format gives the same polygons, and every error names the thing and the way out."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr.datasets.annotations import (
    AnnotationError,
    ImageAnnotation,
    load_annotations,
    read_predictions,
    to_displayed,
    write_predictions_json,
    write_submission_csv,
)
from ocr.utils.orientation import displayed_size, orientation_matrix
from ocr.utils.polygons import transform_points

SQUARE = [[10, 20], [60, 20.5], [60, 40], [10, 40]]
HEXAGON = [[1, 2], [5, 1], [9, 2], [9, 6], [5, 7], [1, 6]]


def write(folder: Path, content: object, name: str = "train.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def one_word(word: object) -> dict:
    return {"images": {"a.jpg": {"words": {"0003": word}}}}


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(AnnotationError) as caught:
        load_annotations(path, **options)
    return str(caught.value)


class TestOwnForm:
    def test_polygons_are_float64_in_the_order_and_with_the_vertex_order_of_the_file(self, tmp_path: Path) -> None:
        words = {"9": {"points": HEXAGON}, "1": {"points": SQUARE[::-1]}}
        found = load_annotations(write(tmp_path, {"images": {"z.jpg": {"words": words}, "a.jpg": {}}}))
        assert list(found) == ["z.jpg", "a.jpg"]
        assert [p.dtype for p in found["z.jpg"].polygons] == [np.float64] * 2
        assert [p.tolist() for p in found["z.jpg"].polygons] == [HEXAGON, SQUARE[::-1]]

    @pytest.mark.parametrize("entry", [{}, {"words": {}}, {"words": None}, {"words": {"1": {"points": []}}}])
    def test_an_image_without_words_or_points_is_legal(self, tmp_path: Path, entry: dict) -> None:
        assert load_annotations(write(tmp_path, {"images": {"a.jpg": entry}}))["a.jpg"].polygons == []

    def test_a_word_without_points_leaves_the_lists_aligned(self, tmp_path: Path) -> None:
        words = {
            "1": {"points": SQUARE, "transcription": "TOTAL"},
            "2": {"points": [], "transcription": "###"},
            "3": {"points": HEXAGON, "transcription": "4.50"},
        }
        found = load_annotations(write(tmp_path, {"images": {"a.jpg": {"words": words}}}))["a.jpg"]
        assert [len(p) for p in found.polygons] == [4, 6]
        assert found.transcriptions == ["TOTAL", "4.50"]
        assert found.ignore == [False, False]

    @pytest.mark.parametrize(
        ("extra", "ignored"),
        [
            ({}, False),
            ({"illegibility": False}, False),
            ({"illegibility": None}, False),
            ({"illegibility": True}, True),
            ({"illegibility": 1}, True),
            ({"transcription": "###"}, True),
            ({"transcription": "*"}, True),
            ({"transcription": "#"}, False),
            ({"transcription": ""}, False),
            ({"transcription": None, "language": "ko", "orientation": "x"}, False),
        ],
    )
    def test_unreadable_words_are_marked(self, tmp_path: Path, extra: dict, ignored: bool) -> None:
        found = load_annotations(write(tmp_path, one_word({"points": SQUARE, **extra})))
        assert found["a.jpg"].ignore == [ignored]

    def test_the_stated_size_is_kept_as_height_and_width(self, tmp_path: Path) -> None:
        entry = {"img_w": 620, "img_h": 1176.0, "words": {}}
        assert load_annotations(write(tmp_path, {"images": {"a.jpg": entry}}))["a.jpg"].size == (1176, 620)

    @pytest.mark.parametrize(
        ("points", "words"),
        [
            ([[1, 2], [3, 4]], "points has 2 points, but a polygon needs at least 4; give all corners"),
            ([[1, 2]], "points has 1 point, but"),
            ([[1, 2], [3, 4], [5, 6]], "points has 3 points"),
            ([[1, 2], [3, 4], [5, 6], [7]], "it must be a list of [x, y] pairs"),
            ([1, 2, 3, 4, 5, 6, 7, 8], "it must be a list of [x, y] pairs"),
            ("1,2,3,4", "it must be a list of [x, y] pairs"),
            ([[1, 2], [3, float("nan")], [5, 6], [7, 8]], "y of point 2 is nan, but it must be a finite number"),
            ([[float("inf"), 2], [3, 4], [5, 6], [7, 8]], "x of point 1 is inf"),
            ([[10**400, 2], [3, 4], [5, 6], [7, 8]], "x of point 1 is 1000"),  # JSON knows no largest number
            ([[1, 2], [3, -1e300], [5, 6], [7, 8]], "y of point 2 is -1e+300"),
            ([[1, 2], [3, 4], ["5", 6], [7, 8]], "x of point 3 is '5'"),
            ([[1, 2], [3, 4], [5, 6], [7, True]], "y of point 4 is True"),
            ([[1, 2], [3, 4], [5, 6], [7, None]], "y of point 4 is None"),
        ],
    )
    def test_bad_points_are_named_by_file_image_and_word(self, tmp_path: Path, points: object, words: str) -> None:
        file = write(tmp_path, one_word({"points": points}))
        message = error_of(file)
        assert message.startswith(f"In {file}, image 'a.jpg', word '0003': ")
        assert words in message

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (one_word([1, 2]), "found [1, 2] where an object with `points` must be"),
            (
                one_word({"points": SQUARE, "illegibility": "yes"}),
                "illegibility is 'yes', but it must be true or false",
            ),
            (one_word({"points": SQUARE, "transcription": 7}), "transcription is 7, but it must be a text"),
            ({"images": {"a.jpg": {"words": []}}}, "found [] where an object of words must be"),
            ({"images": {"a.jpg": 3}}, "found 3 where an object of words must be"),
            ({"images": {"a.jpg": {"img_w": 0, "img_h": 5}}}, "img_w is 0, but it must be a whole number of pixels"),
            ({"images": {"a.jpg": {"img_w": 5, "img_h": 2.5}}}, "img_h is 2.5"),
            ({"image": {}}, "has no object `images` at its top"),
            ([], "has no object `images` at its top"),
            ('{"images": {"a.jpg": {},\n "a.jpg": {}}}', "the key 'a.jpg' stands twice"),
            ('{"images":\n {"a.jpg" 5}}', "Line 2, column 11 of"),
        ],
    )
    def test_a_broken_form_is_named(self, tmp_path: Path, content: object, words: str) -> None:
        message = error_of(write(tmp_path, content))
        assert words in message
        assert "train.json" in message

    def test_a_file_in_another_encoding_is_named_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(b'{"images":\n {"caf\xe9.jpg": {}}}')
        assert "Line 2 of" in (message := error_of(tmp_path / "x.json"))
        assert "not UTF-8 (byte 0xe9); save the file as UTF-8" in message

    def test_a_missing_file_is_named_with_the_nearest_one_that_is_there(self, tmp_path: Path) -> None:
        write(tmp_path, {}, "train.json")
        message = error_of(tmp_path / "tran.json")
        assert "does not exist (did you mean 'train.json'?)" in message
        assert "dataset_base_path" in message
        assert "is absent or empty" in error_of(tmp_path / "no" / "train.json")

    def test_real_annotations_are_read_whole(self, shared_receipts: Path) -> None:
        for split, images, words in (("train", 300, 16033), ("val", 104, 5645)):
            found = load_annotations(shared_receipts / "jsons" / f"{split}.json")
            assert (len(found), sum(len(image.polygons) for image in found.values())) == (images, words)


class TestOtherForms:
    def own(self, folder: Path) -> ImageAnnotation:
        words = {
            "1": {"points": [[10, 20], [60, 20], [60, 40], [10, 40]], "transcription": "A, B"},
            "2": {"points": [[5, 6], [7, 6], [7, 9], [5, 9.5]], "transcription": "###"},
        }
        return load_annotations(write(folder, {"images": {"r.jpg": {"words": words}}}))["r.jpg"]

    def assert_same(self, found: ImageAnnotation, expected: ImageAnnotation) -> None:
        assert found.name == expected.name
        assert [p.tolist() for p in found.polygons] == [p.tolist() for p in expected.polygons]
        assert (found.ignore, found.transcriptions) == (expected.ignore, expected.transcriptions)

    @pytest.mark.parametrize("name", ["r.txt", "gt_r.txt"])
    def test_a_folder_of_text_files_reads_like_the_own_form(self, tmp_path: Path, name: str) -> None:
        expected = self.own(tmp_path)
        folder = tmp_path / "labels"
        folder.mkdir()
        text = "\ufeff10,20,60,20,60,40,10,40,A, B\r\n\r\n5,6,7,6,7,9,5,9.5,###\r\n"
        write(folder, text, name)
        write(folder, "", "empty.txt")
        found = load_annotations(folder)
        assert sorted(found) == ["empty.jpg", "r.jpg"]
        self.assert_same(found["r.jpg"], expected)
        assert found["empty.jpg"].polygons == []

    def test_text_files_take_the_ending_of_the_image_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "labels").mkdir()
        write(tmp_path / "labels", "0,0,1,0,1,1,0,1", "gt_r.txt")
        (tmp_path / "r.png").touch()
        found = load_annotations(tmp_path / "labels", image_dir=tmp_path)
        assert list(found) == ["r.png"]
        assert found["r.png"].transcriptions == [None]
        (tmp_path / "r.jpg").touch()
        assert "may mean r.jpg or r.png" in error_of(tmp_path / "labels", image_dir=tmp_path)

    def test_a_separator_inside_a_transcription_does_not_split_the_line(self, tmp_path: Path) -> None:
        write(tmp_path, "0,0,1,0,1,1,0,1,A\u2028B\x0cC", "r.txt")
        assert load_annotations(tmp_path)["r.jpg"].transcriptions == ["A\u2028B\x0cC"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("1,2,3,4,5,6,7,8,OK\n1,2,3,4,TEXT", "image 'r.jpg', line 2: found '1,2,3,4,TEXT', but a line is eight"),
            ("1,2,3,x,5,6,7,8,OK", "line 1: coordinate 4 is 'x', but it must be a finite number"),
            ("1,2,3,nan,5,6,7,8,OK", "coordinate 4 is 'nan'"),
        ],
    )
    def test_a_bad_text_line_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        write(tmp_path, text, "r.txt")
        assert words in error_of(tmp_path)

    def test_two_text_files_of_one_image_and_an_empty_folder_are_errors(self, tmp_path: Path) -> None:
        assert "holds no .txt file" in error_of(tmp_path)
        write(tmp_path, "", "r.txt")
        write(tmp_path, "", "gt_r.txt")
        assert "a second annotation of r.jpg" in error_of(tmp_path)

    def test_a_paddle_label_file_reads_like_the_own_form(self, tmp_path: Path) -> None:
        expected = self.own(tmp_path)
        words = [
            {"transcription": "A, B", "points": [[10, 20], [60, 20], [60, 40], [10, 40]]},
            {"transcription": "###", "points": [[5, 6], [7, 6], [7, 9], [5, 9.5]], "difficult": True},
        ]
        (tmp_path / "r.jpg").touch()
        file = write(tmp_path, f"train/r.jpg\t{json.dumps(words)}\nother.jpg\t[]\n", "Label.txt")
        found = load_annotations(file, image_dir=tmp_path)
        assert list(found) == ["r.jpg", "other.jpg"]
        self.assert_same(found["r.jpg"], expected)
        assert list(load_annotations(file)) == ["train/r.jpg", "other.jpg"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a.jpg []", "Line 1 of"),
            ("a.jpg\t[]\na.jpg\t[]", "annotates a.jpg a second time"),
            ("a.jpg\t[]\nb.jpg\t[{]", "Line 2, column 3 of"),
            ("a.jpg\t{}", "where a list of words must be"),
            ('a.jpg\t[{"points": [[1, 2], [3, 4]]}]', "image 'a.jpg', word '1 of line 1': points has 2 points"),
            ('a.jpg\t[{"points": [[1,2],[3,4],[5,6],[7,8]], "difficult": "no"}]', "difficult is 'no'"),
        ],
    )
    def test_a_bad_paddle_line_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        assert words in error_of(write(tmp_path, text, "Label.txt"))

    def test_coco_polygons_boxes_and_crowds_are_read(self, tmp_path: Path) -> None:
        root = {
            "images": [{"id": 7, "file_name": "r.jpg", "width": 80, "height": 90}, {"id": 8, "file_name": "s.jpg"}],
            "annotations": [
                {"image_id": 7, "segmentation": [[10, 20, 60, 20, 60, 40, 10, 40]], "text": "A, B"},
                {"image_id": 7, "bbox": [1, 2, 10, 5], "transcription": "###"},
                {"image_id": 7, "bbox": [1, 2, 10, 5], "iscrowd": 1},
            ],
        }
        found = load_annotations(write(tmp_path, root))
        assert list(found) == ["r.jpg", "s.jpg"]
        assert found["r.jpg"].size == (90, 80)
        assert found["r.jpg"].ignore == [False, True, True]
        assert found["r.jpg"].transcriptions == ["A, B", "###", None]
        assert found["r.jpg"].polygons[1].tolist() == [[1, 2], [11, 2], [11, 7], [1, 7]]
        assert found["s.jpg"].polygons == []

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            ({"image_id": 9, "bbox": [0, 0, 1, 1]}, "annotations[0]: its image_id is that of no image"),
            ({"image_id": [7], "bbox": [0, 0, 1, 1]}, "its image_id is that of no image"),
            ({"image_id": 7, "bbox": [0, 0, 1, 10**400]}, "bbox is 1000"),
            ({"image_id": 7, "bbox": [0, 0, 1]}, "bbox is [0, 0, 1]"),
            ({"image_id": 7}, "bbox is None"),
            ({"image_id": 7, "segmentation": {"counts": [1]}}, "run-length masks are not read"),
            ({"image_id": 7, "segmentation": [[1, 2, 3]]}, "it must be a list of [x1, y1, x2, y2, ...]"),
            ({"image_id": 7, "segmentation": [[1, 2, 3, 4, 5, 6]]}, "points has 3 points"),
        ],
    )
    def test_a_bad_coco_annotation_is_named(self, tmp_path: Path, annotation: dict, words: str) -> None:
        root = {"images": [{"id": 7, "file_name": "r.jpg"}], "annotations": [annotation]}
        assert words in error_of(write(tmp_path, root))

    @pytest.mark.parametrize(
        ("images", "words"),
        [
            (
                [{"id": 7, "file_name": "r.jpg"}, {"id": 8, "file_name": "r.jpg"}],
                "images[1]', its keys: 'r.jpg' (id 8)",
            ),
            (
                [{"id": 7, "file_name": "r.jpg"}, {"id": 7, "file_name": "s.jpg"}],
                "'s.jpg' (id 7) is there a second time",
            ),
            ([{"id": [7], "file_name": "r.jpg"}], "an image needs a number or text `id`"),
            ([{"id": 7}], "and a text `file_name`"),
            (["r.jpg"], "found 'r.jpg'"),
        ],
    )
    def test_a_bad_coco_image_is_named(self, tmp_path: Path, images: list, words: str) -> None:
        assert words in error_of(write(tmp_path, {"images": images, "annotations": []}))

    def test_a_format_that_does_not_fit_the_path_is_an_error(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"images": {}})
        assert "format=icdar is a folder" in error_of(file, format="icdar")
        assert "format=json is a file" in error_of(tmp_path, format="json")
        assert "has no list `images`" in error_of(file, format="coco")


class TestDigest:
    def test_it_depends_on_the_content_and_not_on_the_format(self, tmp_path: Path) -> None:
        own = load_annotations(
            write(tmp_path, {"images": {"r.jpg": {"words": {"x": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}}}})
        )
        (tmp_path / "labels").mkdir()
        write(tmp_path / "labels", "0,0,1,0,1,1,0,1", "r.txt")
        assert own.content_digest() == load_annotations(tmp_path / "labels").content_digest()
        assert len(own.content_digest()) == 64

    @pytest.mark.parametrize(
        "word",
        [
            {"points": [[0, 0], [1, 0], [1, 1], [0, 1.0001]]},
            {"points": [[1, 0], [1, 1], [0, 1], [0, 0]]},
            {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "illegibility": True},
            {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "transcription": "A"},
        ],
    )
    def test_any_change_of_a_word_changes_it(self, tmp_path: Path, word: dict) -> None:
        before = load_annotations(
            write(tmp_path, one_word({"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}))
        ).content_digest()
        assert load_annotations(write(tmp_path, one_word(word))).content_digest() != before


class TestDisplayedFrame:
    def annotation(self, points: list, size: tuple[int, int] | None = None) -> ImageAnnotation:
        return ImageAnnotation("a.jpg", [np.array(points, dtype=np.float64)], [False], [None], size)

    @given(st.integers(1, 8), st.integers(1, 50), st.integers(1, 50))
    def test_raw_polygons_are_turned_and_the_source_is_left_alone(
        self, orientation: int, height: int, width: int
    ) -> None:
        points = np.array([[0, 0], [width, 0], [width, height / 2], [0, height / 2]], dtype=np.float64)
        source = self.annotation(points.tolist())
        shown = to_displayed(source, orientation, height, width, "raw")
        expected = transform_points(orientation_matrix(orientation, height, width), points)
        assert np.array_equal(shown.polygons[0], expected)
        assert np.array_equal(source.polygons[0], points)
        assert shown.size == displayed_size(orientation, height, width)

    @given(st.integers(1, 8))
    def test_displayed_polygons_stay_as_they_are(self, orientation: int) -> None:
        source = self.annotation(SQUARE)
        assert np.array_equal(to_displayed(source, orientation, 100, 100, "displayed").polygons[0], SQUARE)

    @pytest.mark.parametrize(
        ("points", "size", "turned"),
        [
            # orientation 6, raw 50 x 80 (height x width), displayed 80 x 50
            ([[0, 0], [75, 0], [75, 9], [0, 9]], None, True),  # fits only the raw picture
            ([[0, 0], [9, 0], [9, 75], [0, 75]], None, False),  # fits only the displayed one
            ([[0, 0], [9, 0], [9, 9], [0, 9]], None, False),  # fits both: displayed
            ([[0, 0], [9, 0], [9, 9], [0, 9]], (50, 80), True),  # the file states the raw size
            ([[0, 0], [75, 0], [75, 9], [0, 9]], (80, 50), False),  # the stated size goes before the points
        ],
    )
    def test_auto_goes_by_the_stated_size_and_then_by_the_points(
        self, points: list, size: tuple[int, int] | None, turned: bool
    ) -> None:
        shown = to_displayed(self.annotation(points, size), 6, 50, 80)
        assert np.array_equal(shown.polygons[0], points) is not turned

    @pytest.mark.parametrize("orientation", [2, 3, 4])
    def test_auto_takes_displayed_where_the_size_tells_nothing(self, orientation: int) -> None:
        assert np.array_equal(to_displayed(self.annotation(SQUARE, (50, 80)), orientation, 50, 80).polygons[0], SQUARE)

    @pytest.mark.parametrize("frame", ["raw", "displayed", "auto"])
    def test_a_size_that_fits_neither_frame_is_an_error(self, frame: str) -> None:
        with pytest.raises(AnnotationError, match=r"a\.jpg has 50 x 80 pixels .* img_h 100, img_w 160.* another copy"):
            to_displayed(self.annotation(SQUARE, (100, 160)), 1, 50, 80, frame)  # type: ignore[arg-type]


coordinates = st.floats(-1e5, 1e5, allow_nan=False)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=9)
detections = st.lists(st.tuples(polygons, st.one_of(st.none(), st.floats(0, 1))), max_size=4)
names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)


class TestPredictions:
    @settings(max_examples=25, deadline=None)
    @given(found=st.dictionaries(names, detections, max_size=4))
    def test_json_comes_back_to_the_last_digit(self, tmp_path_factory: pytest.TempPathFactory, found: dict) -> None:
        path = tmp_path_factory.mktemp("p") / "predictions.json"
        write_predictions_json(path, {k: [(np.array(p), c) for p, c in v] for k, v in found.items()})
        back = read_predictions(path)
        assert {k: [([tuple(q) for q in p.tolist()], c) for p, c in v] for k, v in back.items()} == found
        assert list(back) == list(found)

    @settings(max_examples=25, deadline=None)
    @given(found=st.dictionaries(names, detections, max_size=4), confidence=st.booleans())
    def test_csv_polygons_come_back_to_the_last_digit(
        self, tmp_path_factory: pytest.TempPathFactory, found: dict, confidence: bool
    ) -> None:
        path = tmp_path_factory.mktemp("p") / "submission.csv"
        write_submission_csv(path, {k: [(np.array(p), c) for p, c in v] for k, v in found.items()}, confidence)
        back = read_predictions(path)
        assert {k: [[tuple(q) for q in p.tolist()] for p, _ in v] for k, v in back.items()} == {
            k: [p for p, _ in v] for k, v in found.items()
        }

    def test_the_csv_has_the_form_of_the_competition(self, tmp_path: Path) -> None:
        square = np.array(SQUARE, dtype=np.float64)
        path = tmp_path / "submission.csv"
        found = {"a.jpg": [(square, 0.5), (square, 1.0)], "b.jpg": []}
        write_submission_csv(path, found)
        one = "10 20 60 20.5 60 40 10 40"
        assert path.read_text() == f"filename,polygons\na.jpg,{one}|{one}\nb.jpg,\n"
        write_submission_csv(path, found, confidence=True)
        assert path.read_text() == f"filename,polygons,avg_confidence\na.jpg,{one}|{one},0.750000\nb.jpg,,\n"

    def test_a_thousand_long_polygons_in_one_field_are_read(self, tmp_path: Path) -> None:
        polygon = np.random.default_rng(0).uniform(0, 5000, (8, 2))
        write_submission_csv(tmp_path / "s.csv", {"a.jpg": [(polygon, None)] * 1000})
        assert len(read_predictions(tmp_path / "s.csv")["a.jpg"]) == 1000

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("name,boxes\n", "The first line of"),
            (
                "filename,polygons\na.jpg,1 2 3 4 5 6 7\n",
                "image 'a.jpg', line 2: the polygon '1 2 3 4 5 6 7' has 7 numbers",
            ),
            ("filename,polygons\na.jpg,1 2 3 4\n", "points has 2 points"),
            ("filename,polygons\na.jpg,1 2 3 4 5 6 7 x\n", "a coordinate is 'x'"),
            ("filename,polygons\na.jpg,1 2 3 4 5 6 7 8||\n", "a polygon between two | is empty"),
            ("filename,polygons\na.jpg,1,2\n", "it has 3 fields, the header 2"),
            ("filename,polygons\na.jpg,\na.jpg,\n", "the image is there a second time"),
        ],
    )
    def test_a_bad_csv_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(AnnotationError) as caught:
            read_predictions(write(tmp_path, text, "s.csv"))
        assert words in str(caught.value)

    @pytest.mark.parametrize("confidence", [1.5, -0.1, "high", True, float("nan")])
    def test_a_confidence_outside_zero_to_one_is_named(self, tmp_path: Path, confidence: object) -> None:
        file = write(tmp_path, one_word({"points": SQUARE, "confidence": confidence}), "p.json")
        with pytest.raises(AnnotationError, match=r"word '0003': confidence is .* must lie in 0\.\.1"):
            read_predictions(file)

    def test_a_missing_prediction_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(AnnotationError, match="does not exist"):
            read_predictions(tmp_path / "p.json")
