from __future__ import annotations

import errno
import json
import os
import struct
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from robotrace.deliver.blocks import END, START, STEPS, BlockFile, Layout, encode_json, read_records
from robotrace.testing.episodes import int64, start_content, steps_block


@pytest.fixture
def file(tmp_path: Path):
    file = BlockFile(tmp_path / "blocks-0001.rtb")
    yield file
    file.close()


def write_three(file: BlockFile) -> str:
    name = str(uuid.uuid4())
    file.append(START, name, 0, encode_json(start_content(name)))
    file.append(STEPS, name, 0, steps_block(0, 3, 2))
    file.append(STEPS, name, 1, steps_block(3, 2, 2))
    return name


def test_records_come_back_as_they_were_appended(file: BlockFile) -> None:
    name = write_three(file)
    records = list(read_records(file.path))
    assert [(record.kind, record.uuid, record.sequence) for record in records] == [
        (START, name, 0),
        (STEPS, name, 0),
        (STEPS, name, 1),
    ]
    assert records[0].content == start_content(name)
    assert [layout.key for layout in records[1].content.layouts] == [
        "observation/value",
        "reward/value",
        "action/value",
        "_t_ns",
    ]


def test_blocks_that_look_alike_share_their_header(file: BlockFile) -> None:
    name = str(uuid.uuid4())
    for sequence in range(50):  # as many rows or not: what a long episode keeps in memory must not grow with them
        file.append(STEPS, name, sequence, steps_block(sequence, 2 + sequence, 1))
    assert len({id(record.content.layouts) for record in read_records(file.path)}) == 1


def test_a_file_of_the_version_before_is_read(file: BlockFile) -> None:
    name = str(uuid.uuid4())
    header = json.dumps(
        [["a/value", "sensors", "all", "<i8", [2], 1, 16], ["_t_ns", "sensors", "all", "<i8", [], 1, 8]]
    )
    file.append(STEPS, name, 0, struct.pack("<I", len(header)) + header.encode() + int64(1, 2, 3))
    (record,) = read_records(file.path)
    assert record.content.layouts[0] == Layout("a/value", "sensors", "all", "<i8", (2,))
    assert list(record.content.sizes) == [1, 16, 1, 8]
    assert file.path.read_bytes()[record.offset :] == int64(1, 2, 3)


def test_append_returns_what_reading_finds(file: BlockFile) -> None:
    name = str(uuid.uuid4())
    appended = file.append(STEPS, name, 0, steps_block(0, 3, 2))
    assert list(read_records(file.path)) == [appended]


@pytest.mark.parametrize("cut", [1, 7, 35, 36, 37, 100, 500])
def test_a_file_cut_anywhere_gives_the_whole_records_before_the_cut(file: BlockFile, cut: int) -> None:
    write_three(file)
    whole = list(read_records(file.path))
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-cut] if cut < len(content) else b"")
    found = list(read_records(file.path))
    assert found == whole[: len(found)]
    assert len(found) < len(whole)


def test_a_hole_left_by_a_killed_writer_is_skipped(file: BlockFile) -> None:
    name = str(uuid.uuid4())
    file.append(START, name, 0, encode_json(start_content(name)))
    file.size += 5000  # reserved, never written
    file.append(STEPS, name, 0, steps_block(0, 3, 2))
    assert [record.kind for record in read_records(file.path)] == [START, STEPS]


def test_a_flipped_bit_costs_its_own_record_only(file: BlockFile) -> None:
    write_three(file)
    content = bytearray(file.path.read_bytes())
    middle = list(read_records(file.path))[1].offset + 3
    content[middle] ^= 1
    file.path.write_bytes(content)
    assert [(record.kind, record.sequence) for record in read_records(file.path)] == [(START, 0), (STEPS, 1)]


def test_the_magic_inside_a_payload_is_no_record(file: BlockFile) -> None:
    name = str(uuid.uuid4())
    file.append(END, name, 0, encode_json({"text": "RTB1" * 50}))
    content = file.path.read_bytes()
    file.path.write_bytes(content[1:])  # the true header is torn, the payload's magics stay
    assert list(read_records(file.path)) == []


def test_threads_append_without_overwriting_each_other(file: BlockFile) -> None:
    names = [str(uuid.uuid4()) for _ in range(4)]

    def write(name: str) -> None:
        for sequence in range(50):
            file.append(STEPS, name, sequence, steps_block(sequence, 2, 1))

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(record.uuid, record.sequence) for record in read_records(file.path)]
    assert sorted(found) == sorted((name, sequence) for name in names for sequence in range(50))


def test_a_record_that_found_no_room_gives_back_what_it_took(file: BlockFile, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_three(file)
    size = file.size
    real, calls = os.pwrite, []

    def full(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) % 2 == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:10], offset)

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(5):
        with pytest.raises(OSError, match="No space"):
            file.append(STEPS, name, 2, steps_block(5, 2, 2))
    monkeypatch.undo()
    assert file.size == file.path.stat().st_size == size
    file.append(STEPS, name, 2, steps_block(5, 2, 2))
    assert len(list(read_records(file.path))) == 4


def in_a_forked_child(check: Callable[[], bool]) -> bool:
    """Whether ``check`` holds in a child, which is left at once."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of Python 3.12, where other tests left threads
def test_what_a_forked_child_still_writes_lands_in_no_file_at_all(file: BlockFile, tmp_path: Path) -> None:
    # Mechanism: a signal handler that forks in the middle of a write; the child goes on with it, by its number.
    name = write_three(file)
    number, size = file._descriptor, file.path.stat().st_size
    users = tmp_path / "users.txt"

    def check() -> bool:
        file.abandon()
        theirs = [os.open(users, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(5)]
        os.pwrite(number, b"stray", 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            file.append(STEPS, name, 2, steps_block(5, 2, 2))
        return number not in theirs and users.read_bytes() == b"" and not os.get_inheritable(number)

    assert in_a_forked_child(check)
    assert file.path.stat().st_size == size
    file.append(STEPS, name, 2, steps_block(5, 2, 2))
    assert len(list(read_records(file.path))) == 4


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_without_a_null_device_the_childs_copy_is_closed(file: BlockFile, monkeypatch: pytest.MonkeyPatch) -> None:
    number = file._descriptor
    monkeypatch.setattr(os, "devnull", "/nowhere/null")

    def check() -> bool:
        file.abandon()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        return True

    assert in_a_forked_child(check)
    os.fstat(number)
