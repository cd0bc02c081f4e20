from __future__ import annotations

import os

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.ring import FrameRing  # noqa: E402


def test_what_one_end_writes_the_other_reads() -> None:
    ours = FrameRing((4, 6, 3))
    theirs = FrameRing((4, 6, 3), os.dup(ours.descriptor))
    frame = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    for number in range(20):
        np.copyto(ours.slot(number), frame + number)
        np.testing.assert_array_equal(theirs.slot(number), frame + number)
        theirs.consumed = number + 1
        assert ours.consumed == number + 1
    theirs.close()
    ours.close()


@pytest.mark.parametrize(
    ("shape", "slots"), [((480, 640, 3), 8), ((1080, 1920, 3), 8), ((2160, 3840, 3), 2), ((4320, 7680, 3), 2)]
)
def test_a_ring_has_eight_slots_or_as_many_as_64_mb_hold_and_never_less_than_two(
    shape: tuple[int, int, int], slots: int
) -> None:
    ring = FrameRing(shape)
    assert ring.slots == slots
    ring.close()


def test_a_slot_is_not_the_next_ones() -> None:
    ring = FrameRing((2, 2, 3))
    for number in range(ring.slots):
        ring.slot(number)[:] = number
    assert [int(ring.slot(number).max()) for number in range(ring.slots)] == list(range(ring.slots))
    assert np.shares_memory(ring.slot(0), ring.slot(ring.slots))
    ring.close()


def test_closing_gives_the_descriptor_back() -> None:
    ring = FrameRing((8, 8, 3))
    descriptor = ring.descriptor
    ring.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
