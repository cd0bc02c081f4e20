"""Files of a bucket on the disk: read once, bounded, and never gone while somebody reads."""

import threading

import pytest

from robotrace.serve.object_cache import ObjectCache


class Source:
    """Objects of 10 bytes, and which were asked for."""

    def __init__(self):
        self.fetched = []

    def __call__(self, key):
        def fetch():
            self.fetched.append(key)
            yield key.encode()
            yield b"." * (10 - len(key))

        return fetch


@pytest.fixture
def source():
    return Source()


def read(cache, source, *keys):
    for key in keys:
        with cache.open(key, source(key)) as path:
            assert path.read_bytes() == key.encode() + b"." * (10 - len(key))


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_an_object_is_fetched_once_and_again_after_it_had_to_go(tmp_path, source):
    cache = ObjectCache(tmp_path, 20)
    read(cache, source, "a", "b", "a", "c", "a", "b")
    assert source.fetched == ["a", "b", "c", "b"]
    assert bytes_in(tmp_path) == 20


def test_what_is_read_stays_until_it_was_read(tmp_path, source):
    cache = ObjectCache(tmp_path, 20)
    with cache.open("a", source("a")) as path:
        read(cache, source, "b", "c", "d")
        assert path.read_bytes().startswith(b"a")
    assert bytes_in(tmp_path) == 20


def test_an_object_larger_than_the_cache_is_readable_and_does_not_stay(tmp_path, source):
    read(ObjectCache(tmp_path, 5), source, "a")
    assert bytes_in(tmp_path) == 0


def test_of_two_readers_at_once_one_fetches(tmp_path, source):
    cache, begun, go_on = ObjectCache(tmp_path, 20), threading.Event(), threading.Event()
    seen = []

    def slowly():
        begun.set()
        assert go_on.wait(60)
        yield from source("a")()

    def second():
        with cache.open("a", source("a")) as path:
            seen.append(path.read_bytes())

    def first():
        with cache.open("a", slowly) as path:
            seen.append(path.read_bytes())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    begun.wait()
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert seen == [b"a" + b"." * 9] * 2
    assert source.fetched == ["a"]


def test_what_cannot_be_fetched_leaves_nothing_and_can_be_tried_again(tmp_path, source):
    cache = ObjectCache(tmp_path, 20)

    def broken():
        yield b"half"
        raise OSError("the line broke")

    with pytest.raises(OSError, match="the line broke"), cache.open("a", broken):
        pass
    assert list(tmp_path.iterdir()) == []
    read(cache, source, "a")


def test_an_object_that_is_deleted_is_fetched_again(tmp_path, source):
    cache = ObjectCache(tmp_path, 20)
    read(cache, source, "a")
    cache.forget("a")
    cache.forget("never there")
    assert list(tmp_path.iterdir()) == []
    read(cache, source, "a")
    assert source.fetched == ["a", "a"]


def test_a_restart_keeps_what_was_read_and_clears_what_was_half_there(tmp_path, source):
    read(ObjectCache(tmp_path, 20), source, "a", "b")
    (tmp_path / "half.part").write_bytes(b"x" * 100)
    again = ObjectCache(tmp_path, 20)
    read(again, source, "b", "a", "c")
    assert source.fetched == ["a", "b", "c"]
    assert bytes_in(tmp_path) == 20


def test_what_is_made_from_an_object_is_made_once_and_goes_with_it(tmp_path):
    cache = ObjectCache(tmp_path, 20)
    made = []

    def make(part):
        made.append(part)
        part.write_bytes(b"x" * 5)

    for _ in range(2):
        with cache.made("a", "1", make) as path:
            assert path.read_bytes() == b"xxxxx"
    with cache.made("a", "2", make), cache.made("ab", "1", make):
        pass
    assert (len(made), bytes_in(tmp_path)) == (3, 15)
    cache.forget("a")
    assert bytes_in(tmp_path) == 5


def test_what_could_not_be_made_leaves_nothing_and_is_tried_again(tmp_path, source):
    cache = ObjectCache(tmp_path, 20)

    def fail(part):
        part.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), cache.made("a", "1", fail):
        pass
    assert list(tmp_path.iterdir()) == []
    with cache.made("a", "1", lambda part: part.write_bytes(b"whole")) as path:
        assert path.read_bytes() == b"whole"
