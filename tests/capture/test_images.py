from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.images import images_plan  # noqa: E402

CAMERA = ("u1", (480, 640, 3))


@pytest.mark.parametrize(
    ("leaf", "fate"),
    [
        (CAMERA, "video"),
        (("u1", (3, 96, 96)), "video"),
        (("u1", (1, 96, 128)), "video"),
        (("u1", (240, 320)), "video"),
        (("u1", (240, 320, 1)), "video"),
        (("u1", (96, 96, 4)), "arrays"),  # four frames of CarRacing: as RGBA the newest one would be lost
        (("u1", (84, 84)), "arrays"),
        (("u1", (84, 84, 3)), "arrays"),
        (("u1", (84, 84, 4)), "arrays"),  # four frames of Atari, not RGBA
        (("u1", (4, 84, 84)), "arrays"),
        (("u1", (4, 210, 160)), "arrays"),
        (("u1", (12, 210, 160)), "arrays"),
        (("u1", (210, 160, 12)), "arrays"),
        (("u1", (4, 210, 160, 3)), "arrays"),
        (("u1", (128,)), "arrays"),  # Atari's RAM
        (("u1", (3, 200)), "arrays"),
        (("f4", (480, 640, 3)), "arrays"),  # may be depth, normals, flow: nothing lossy without being asked
        (("i8", (480, 640, 3)), "arrays"),
        (("f8", ()), "arrays"),
    ],
)
def test_left_alone_only_a_camera_view_becomes_video(leaf: tuple[str, tuple[int, ...]], fate: str) -> None:
    assert images_plan({"observation": leaf}, "auto") == {"observation": fate}


@pytest.mark.parametrize(
    ("leaf", "fate"),
    [
        (("u1", (84, 84, 3)), "video"),
        (("u1", (84, 84)), "video"),
        (("f4", (480, 640, 3)), "video"),
        (("f4", (3, 480, 640)), "video"),
        (("u1", (240, 320, 4)), "video"),
        (("f4", (84, 84, 3)), "arrays"),
        (("f4", (10, 10)), "arrays"),
        (("u1", (4, 84, 84)), "arrays"),  # a stack is no picture, whatever is asked for
        (("u1", (3, 3)), "arrays"),
    ],
)
def test_asked_for_every_picture_becomes_video(leaf: tuple[str, tuple[int, ...]], fate: str) -> None:
    assert images_plan({"observation": leaf}, "video") == {"observation": fate}


def test_dropping_takes_the_images_and_nothing_else() -> None:
    leaves = {"cam": CAMERA, "stack": ("u1", (4, 84, 84)), "pose": ("f4", (7,)), "grid": ("u1", (3, 3))}
    assert images_plan(leaves, "drop") == {"cam": "drop", "stack": "drop", "pose": "arrays", "grid": "arrays"}
    assert set(images_plan(leaves, "arrays").values()) == {"arrays"}


def test_leaves_are_judged_one_by_one() -> None:
    leaves = {"observation.wrist": CAMERA, "observation.small": ("u1", (64, 64, 3)), "observation.pose": ("f4", (7,))}
    assert images_plan(leaves, "auto") == {
        "observation.wrist": "video",
        "observation.small": "arrays",
        "observation.pose": "arrays",
    }
