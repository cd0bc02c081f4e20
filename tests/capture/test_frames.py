from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.frames import as_rgb  # noqa: E402

RGB = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)


def test_an_rgb_frame_is_not_copied() -> None:
    assert np.shares_memory(as_rgb(RGB), RGB)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (RGB[::-1], RGB[::-1]),
        (np.dstack([RGB, np.full((6, 5), 9, np.uint8)]), RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (RGB[:, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB[:, :, :1], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB.astype(np.float64) / 255.0, RGB),
        (RGB > 4, np.where(RGB > 4, 255, 0)),
    ],
    ids=["flipped", "rgba", "channels first", "grey", "grey 1", "float", "bool"],
)
def test_every_usual_layout_becomes_rgb(frame: object, expected: object) -> None:
    result = as_rgb(frame)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("frame", [np.zeros(3), np.zeros((2, 3, 5)), np.zeros((0, 3, 3), np.uint8), "text", 7])
def test_what_is_no_image_is_named(frame: object) -> None:
    with pytest.raises(ValueError, match="no image"):
        as_rgb(frame)


def test_an_image_of_another_dtype_is_named() -> None:
    with pytest.raises(ValueError, match="int64"):
        as_rgb(np.zeros((2, 3, 3), np.int64))
