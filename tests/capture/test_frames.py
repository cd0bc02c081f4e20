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
        (RGB.astype(np.float32) / np.float32(255.0), RGB),
        (np.asfortranarray(RGB), RGB),
        (RGB[:, ::-1, ::-1], RGB[:, ::-1, ::-1]),
        (np.where(RGB > 40, 1.01, np.nan), np.where(RGB > 40, 255, 0)),
        (RGB[None, :, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        (RGB > 4, np.where(RGB > 4, 255, 0)),
    ],
    ids=[
        "flipped",
        "rgba",
        "channels first",
        "grey",
        "grey 1",
        "float",
        "float32",
        "fortran",
        "bgr view",
        "nan",
        "grey first",
        "bool",
    ],
)
def test_every_usual_layout_becomes_rgb(frame: object, expected: object) -> None:
    result = as_rgb(frame)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("frame", [np.zeros(3), np.zeros((2, 3, 5)), np.zeros((0, 3, 3), np.uint8), "text", 7])
def test_what_is_no_image_is_named(frame: object) -> None:
    with pytest.raises(ValueError, match="no image"):
        as_rgb(frame)


def test_floats_from_0_to_255_are_not_taken_for_white() -> None:
    with pytest.raises(ValueError, match="up to 89"):
        as_rgb(RGB.astype(np.float32))


def test_floats_around_0_are_not_taken_for_black() -> None:
    with pytest.raises(ValueError, match="from -1"):
        as_rgb(RGB / 127.5 - 1.0)
    overshot = np.where(RGB > 4, 1.0, -0.2)  # as resampling does
    np.testing.assert_array_equal(as_rgb(overshot), np.where(RGB > 4, 255, 0))


class Tensor:
    """What of torch.Tensor counts here: it is on another device, has a gradient, and needs no torch to be tested."""

    def __init__(self, array: np.ndarray, dtype: str = "torch.uint8", where: str = "cuda") -> None:
        self.array, self.dtype, self.where, self.attached = array, dtype, where, True

    def _with(self, **changes: object) -> Tensor:
        other = Tensor(self.array, self.dtype, self.where)
        other.attached = self.attached
        other.__dict__.update(changes)
        return other

    def detach(self) -> Tensor:
        return self._with(attached=False)

    def cpu(self) -> Tensor:
        return self._with(where="cpu")

    def float(self) -> Tensor:
        return self._with(dtype="torch.float32")

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.attached or self.where != "cpu" or self.dtype == "torch.bfloat16":
            raise TypeError("can't convert")
        return self.array


def test_a_tensor_on_another_device_with_a_gradient_is_an_image_too() -> None:
    np.testing.assert_array_equal(as_rgb(Tensor(RGB.transpose(2, 0, 1))), RGB)
    half = Tensor((RGB / np.float32(255)).astype(np.float32), "torch.bfloat16")
    np.testing.assert_array_equal(as_rgb(half), RGB)


def test_a_torch_tensor_is_an_image_too() -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(as_rgb(torch.from_numpy(RGB.copy()).permute(2, 0, 1)), RGB)
    with_gradient = torch.from_numpy(RGB.copy()).float().div(255).requires_grad_()
    np.testing.assert_array_equal(as_rgb(with_gradient), RGB)
    assert np.abs(as_rgb(with_gradient.bfloat16()).astype(int) - RGB).max() <= 1


def test_a_jax_array_is_an_image_too() -> None:
    jnp = pytest.importorskip("jax.numpy")
    np.testing.assert_array_equal(as_rgb(jnp.asarray(RGB)), RGB)
    assert np.abs(as_rgb((jnp.asarray(RGB) / 255).astype(jnp.bfloat16)).astype(int) - RGB).max() <= 1


def test_an_image_of_another_dtype_is_named() -> None:
    with pytest.raises(ValueError, match="int64"):
        as_rgb(np.zeros((2, 3, 3), np.int64))
