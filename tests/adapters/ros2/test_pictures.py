"""Images come out of a bag as they went in: eight bits as video, measurements to the bit."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import av
import numpy as np
from ros2_bags import BagMaker, arrays, frames, quiet_image

from robotrace.adapters.ros2 import encode_bag
from robotrace.adapters.ros2._pictures import picture_of

MS = 1_000_000
RGB = quiet_image(200)
YUV = {"yuv422": "uyvy422", "uyvy": "uyvy422", "yuv422_yuy2": "yuyv422", "yuyv": "yuyv422"}
ORDERS = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def converted(pixels: np.ndarray, name: str) -> np.ndarray:
    """RGB pixels as YUV 4:2:2, (H, W, 2)."""
    array = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuyv422").to_ndarray()
    array = array.reshape(*pixels.shape[:2], 2)
    return array[:, :, ::-1] if name == "uyvy422" else array


def mosaic(pixels: np.ndarray, order: str) -> np.ndarray:
    """What a sensor behind a colour filter sees."""
    seen = np.empty(pixels.shape[:2], pixels.dtype)
    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        seen[row::2, column::2] = pixels[row::2, column::2, "RGB".index(colour)]
    return seen


def packed(codec: str, pixels: np.ndarray, pix_fmt: str, source: str) -> bytes:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = pixels.shape[1], pixels.shape[0], pix_fmt
    encoder.time_base = Fraction(1, 30)
    frame = av.VideoFrame.from_ndarray(pixels, format=source).reformat(format=pix_fmt)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with BagMaker(tmp_path_factory.mktemp("maker") / "bag") as made:
        yield made


EIGHT_BITS = {
    "rgb8": RGB,
    "bgr8": RGB[:, :, ::-1],
    "8UC3": RGB[:, :, ::-1],
    "rgba8": np.concatenate([RGB, np.full((48, 64, 1), 7, np.uint8)], axis=2),
    "bgra8": np.concatenate([RGB[:, :, ::-1], np.full((48, 64, 1), 7, np.uint8)], axis=2),
    "mono8": RGB[:, :, 0],
    "8UC1": RGB[:, :, 0],
}


@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize("encoding", EIGHT_BITS)
def test_eight_bits_are_the_same_bits_whatever_pads_the_rows(bag: BagMaker, encoding: str, padding: int) -> None:
    pixels = EIGHT_BITS[encoding]
    message = bag.image(pixels, encoding, bag.header(0), padding=padding)
    for values in (False, True):
        picture = picture_of(message, values=values)
        shown = RGB[:, :, 0] if picture.array.ndim == 2 else RGB
        np.testing.assert_array_equal(picture.array[..., : shown.shape[-1]], shown)
        assert picture.array.dtype == np.uint8
        assert picture.is_video is not values
    if "a" in encoding:
        assert (picture.array[:, :, 3] == 7).all()


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_is_shown_in_its_colours_and_kept_in_its_bytes(bag: BagMaker, encoding: str, padding: int) -> None:
    pixels = converted(RGB, YUV[encoding])
    message = bag.image(pixels, encoding, bag.header(0), padding=padding)
    shown = picture_of(message).array
    inside = np.s_[:, 5:16]
    assert np.abs(shown[inside].astype(int) - RGB[inside]).max() < 8
    np.testing.assert_array_equal(picture_of(message, values=True).array, pixels)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("order", ORDERS)
def test_bayer_is_demosaiced_and_kept_in_its_bytes(bag: BagMaker, order: str, depth: int) -> None:
    pixels = RGB if depth == 8 else RGB.astype("<u2") * 257
    seen = mosaic(pixels, ORDERS[order])
    message = bag.image(seen, f"bayer_{order}{depth}", bag.header(0), padding=4, big=depth == 16)
    shown = picture_of(message).array
    for third, colour in enumerate(np.eye(3) * 200):
        assert np.abs(shown[10:40, 21 * third + 5 : 21 * third + 15].astype(int) - colour).max() < 3
    kept = picture_of(message, values=True).array
    assert kept.dtype == seen.dtype
    np.testing.assert_array_equal(kept, seen)


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes_of_yuv_are_shown_in_their_colours(bag: BagMaker, encoding: str) -> None:
    planes = av.VideoFrame.from_ndarray(RGB, format="rgb24").reformat(format=encoding)
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in planes.planes]
    luma, chroma = rows[0][:48, :64], rows[1][: 48 if encoding == "nv24" else 24, : 128 if encoding == "nv24" else 64]
    message = bag.image(RGB[:, :, 0], encoding, bag.header(0))
    message.data = np.concatenate([luma.reshape(-1), chroma.reshape(-1)])
    shown = picture_of(message).array
    assert np.abs(shown[:, 5:16].astype(int) - RGB[:, 5:16]).max() < 8


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("16UC1", "<u2", 1),
        ("mono16", "<u2", 1),
        ("32FC1", "<f4", 1),
        ("64FC1", "<f8", 1),
        ("16SC1", "<i2", 1),
        ("32SC1", "<i4", 1),
        ("8SC1", "|i1", 1),
        ("32FC2", "<f4", 2),
        ("8UC2", "|u1", 2),
    ],
)
def test_measurements_keep_every_bit(bag: BagMaker, encoding: str, dtype: str, channels: int, big: bool) -> None:
    generator = np.random.default_rng(5)
    raw = generator.integers(0, 256, 6 * 10 * channels * np.dtype(dtype).itemsize, np.uint8)
    pixels = raw.view(dtype).reshape((6, 10) if channels == 1 else (6, 10, channels))
    picture = picture_of(bag.image(pixels, encoding, bag.header(0), padding=3, big=big))
    assert not picture.is_video
    assert picture.array.dtype == np.dtype(dtype)
    assert np.ascontiguousarray(picture.array).tobytes() == pixels.tobytes()


def test_what_is_no_image_says_why(bag: BagMaker) -> None:
    header = bag.header(0)
    short = bag.image(RGB, "rgb8", header)
    short.data = short.data[:-1]
    narrow = bag.image(RGB, "rgb8", header)
    narrow.step = 10
    for message, why in [
        (short, "9215 bytes with a step of 192 are no image of 64x48 in rgb8"),
        (narrow, "9216 bytes with a step of 10 are no image of 64x48 in rgb8"),
        (bag.image(RGB, "jp2k", header), "the encoding 'jp2k' is not known"),
        (bag.make("sensor_msgs/msg/Image", header=header, encoding="rgb8"), "the image has no pixels"),
        (bag.make("sensor_msgs/msg/CompressedImage", header=header, format="jpeg"), "begin with nothing are no JPEG"),
        (
            bag.make("sensor_msgs/msg/CompressedImage", format="16UC1; compressedDepth rvl", data=np.zeros(40, "u1")),
            "of compressedDepth it takes png",
        ),
    ]:
        with pytest.raises(ValueError, match=why):
            picture_of(message)


def test_compressed_pictures_are_those_they_were(bag: BagMaker) -> None:
    def compressed(form: str, data: bytes) -> Any:
        return bag.make("sensor_msgs/msg/CompressedImage", format=form, data=np.frombuffer(data, np.uint8))

    jpeg = picture_of(compressed("rgb8; jpeg compressed bgr8", packed("mjpeg", RGB, "yuvj444p", "rgb24")))
    assert jpeg.is_video
    assert np.abs(jpeg.array.astype(int) - RGB).max() < 30
    png = picture_of(compressed("png", packed("png", RGB, "rgb24", "rgb24")))
    np.testing.assert_array_equal(png.array, RGB)
    depth = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    data = packed("png", depth, "gray16be", "gray16le")
    header = struct.pack("<iff", 0, 0.0, 0.0)
    for message in (
        compressed("16UC1; png compressed", data),
        compressed("16UC1; compressedDepth png", header + data),
        compressed("16UC1; compressedDepth", header + data),
    ):
        found = picture_of(message)
        assert not found.is_video
        assert found.array.dtype == np.uint16
        np.testing.assert_array_equal(found.array, depth)


def test_compressed_metres_are_metres_again_and_what_was_not_measured_is_not_a_number(bag: BagMaker) -> None:
    metres = np.linspace(0.5, 9.0, 48 * 64, dtype=np.float32).reshape(48, 64)
    metres[3, 4] = np.nan
    # As compressed_depth_image_transport writes it: depth_quantization 100, depth_max 10.
    a, b = 100.0 * (100.0 + 1.0), 1.0 - 100.0 * (100.0 + 1.0) / 10.0
    with np.errstate(invalid="ignore"):
        stored = np.where(np.isnan(metres), 0, a / metres + b).astype(np.uint16)
    data = struct.pack("<iff", 0, a, b) + packed("png", stored, "gray16be", "gray16le")
    message = bag.make(
        "sensor_msgs/msg/CompressedImage", format="32FC1; compressedDepth png", data=np.frombuffer(data, np.uint8)
    )
    found = picture_of(message).array
    assert found.dtype == np.float32
    assert np.isnan(found[3, 4])
    assert np.isnan(found).sum() == 1
    np.testing.assert_allclose(found, metres, rtol=0.01)


def code(number: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A picture that shows a number in eight bars, whatever the video makes of its greys."""
    picture = np.zeros((*shape, 3), np.uint8)
    for bit in range(8):
        if number >> bit & 1:
            picture[:, bit * shape[1] // 8 : (bit + 1) * shape[1] // 8] = 255
    return picture


def number_in(frame: np.ndarray) -> int:
    width = frame.shape[1] // 8
    return sum(1 << bit for bit in range(8) if frame[:, bit * width + 1 : (bit + 1) * width - 1].mean() > 127)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_frame_of_every_camera_is_at_its_own_time(storage: str, tmp_path: Path) -> None:
    left, right = [], []
    with BagMaker(tmp_path / "bag", storage) as bag:
        for number in range(40):
            t = number * 25 * MS + number**2 * 1000
            left.append(t)
            bag.add("/left/image_raw", bag.image(code(number), "rgb8", bag.header(t), padding=5), t + 30 * MS)
            if number % 3 == 0 and number > 5:
                right.append(t)
                picture = code(number, (32, 80))[:, :, ::-1]
                bag.add("/right/image_raw", bag.image(picture, "bgr8", bag.header(t, "right")), t + 31 * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out", canonical_video_topic="/right/image_raw")
    found = arrays(tmp_path / "out")
    for track, (name, stamps, size) in enumerate(
        [("/right/image_raw", right, (32, 80)), ("/left/image_raw", left, (48, 64))]
    ):
        pictures, times = frames(tmp_path / "out", track)
        numbers = [number for number in range(40) if name[1] == "l" or (number % 3 == 0 and number > 5)]
        assert [number_in(picture) for picture in pictures] == numbers
        assert pictures[0].shape[:2] == size
        assert times == [round(stamp / 1000) for stamp in stamps]
        np.testing.assert_array_equal(found[f"{name}/_t_ns"], stamps)
        assert (found[f"{name}/_receive/_t_ns"] - stamps >= 30 * MS).all()
    cameras = episode.metadata["video"]["cameras"]
    shown = [(camera["name"], camera["frames"]) for camera in cameras]
    assert shown == [("/right/image_raw", 12), ("/left/image_raw", 40)]
    assert episode.fps == pytest.approx(11 / ((right[-1] - right[0]) / 1e9))
    assert episode.metadata["ros2"]["topics"]["/right/image_raw"]["constant"] == {"header.frame_id": "right"}
    json.dumps(episode.metadata)


def test_depth_is_beside_the_video_to_the_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    depths = generator.integers(0, 65536, (6, 24, 32)).astype(np.uint16)
    metres = generator.random((6, 24, 32)).astype(np.float32)
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(6):
            header = bag.header(number * MS)
            bag.add("/color", bag.image(code(number), "rgb8", header), number * MS)
            bag.add("/depth", bag.image(depths[number], "16UC1", header, padding=2), number * MS)
            bag.add("/metres", bag.image(metres[number], "32FC1", header, big=True), number * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert found["/depth/image"].dtype == np.uint16
    np.testing.assert_array_equal(found["/depth/image"], depths)
    assert found["/metres/image"].dtype == np.float32
    np.testing.assert_array_equal(found["/metres/image"], metres)
    np.testing.assert_array_equal(found["/depth/_t_ns"], np.arange(6) * MS)
    topics = episode.metadata["ros2"]["topics"]
    assert {name: (topics[name]["slot"], topics[name]["encoding"]) for name in topics} == {
        "/color": ("video", "rgb8"),
        "/depth": ("sensors", "16UC1"),
        "/metres": ("sensors", "32FC1"),
    }
    assert len(frames(tmp_path / "out")[0]) == 6


def test_without_a_choice_the_first_track_is_the_first_by_name_that_is_no_depth(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(6):
            header = bag.header(number * MS)
            bag.add("/wrist", bag.image(code(number), "rgb8", header), number * MS)
            if number % 2:
                bag.add("/head", bag.image(code(number), "rgb8", header), number * MS)
            bag.add("/depth", bag.image(code(number)[:, :, 0].astype("<u2"), "16UC1", header), number * MS)
    for chosen, first, fps in ((None, "/head", 500.0), ("/wrist", "/wrist", 1000.0), ("/depth", "/head", 500.0)):
        episode = encode_bag(tmp_path / "bag", tmp_path / "out", canonical_video_topic=chosen)
        assert episode.metadata["video"]["cameras"][0]["name"] == first
        assert episode.fps == pytest.approx(fps)


def test_an_image_topic_among_the_sensors_is_kept_without_loss(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 16, 24, 3), np.uint8)
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(3):
            bag.add("/wrist", bag.image(noise[number][:, :, ::-1], "bgr8", bag.header(number)), number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out", sensor_topics=["/wrist"])
    assert episode.video is None
    np.testing.assert_array_equal(arrays(tmp_path / "out")["/wrist/image"], noise)


def test_a_camera_that_changes_its_size_is_two_tracks(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(6):
            picture = code(number, (48, 64) if number % 2 else (32, 32))
            bag.add("/camera", bag.image(picture, "rgb8", bag.header(number * MS)), number * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert [(camera["name"], camera["frames"]) for camera in episode.metadata["video"]["cameras"]] == [
        ("/camera", 3),
        ("/camera#1", 3),
    ]
    assert [number_in(frame) for frame in frames(tmp_path / "out", 1)[0]] == [1, 3, 5]
    assert "incomplete" not in episode.metadata


def test_a_broken_picture_is_counted_and_the_others_are_there(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(5):
            message = bag.image(code(number), "rgb8", bag.header(number * MS))
            if number == 2:
                message.data = message.data[:100]
            bag.add("/camera", message, number * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert [number_in(frame) for frame in frames(tmp_path / "out")[0]] == [0, 1, 3, 4]
    assert episode.metadata["incomplete"] == {
        "/camera": "1 message could not be decoded: 100 bytes with a step of 192 are no image of 64x48 in rgb8"
    }
    np.testing.assert_array_equal(arrays(tmp_path / "out")["/camera/_t_ns"], np.array([0, 1, 3, 4]) * MS)
