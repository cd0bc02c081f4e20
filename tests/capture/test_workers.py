"""Questions ride on the messages of an AsyncVectorEnv: whoever unpickles one gets that very message in any case."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402

from robotrace.capture import answers, workers  # noqa: E402
from robotrace.capture.workers import _Asking, _Carrier, _Question, workers_of  # noqa: E402

MESSAGE = ("step", {"deep": np.arange(3), "again": "x" * 9})


@pytest.fixture
def vector() -> Any:
    env = gym.vector.AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, context="fork")
    yield env
    env.close()


def question(known: bool, folder: str = "nowhere") -> _Question:
    return _Question(folder, 0, 1, "before", known=known)


def assert_message(got: Any) -> None:
    assert type(got) is tuple
    assert got[0] == "step"
    assert got[1].keys() == MESSAGE[1].keys()
    np.testing.assert_array_equal(got[1]["deep"], MESSAGE[1]["deep"])


@pytest.mark.parametrize("known", [True, False])
def test_outside_of_a_worker_nothing_is_answered_and_the_message_is_there(known: bool, tmp_path: Path) -> None:
    assert_message(pickle.loads(pickle.dumps(_Asking(MESSAGE, question(known, str(tmp_path))))))
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_without_this_package_gets_the_message(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(pickle.dumps(_Asking(("step", [1, 2]), question(known=False))))
    script = """
import pickle, sys
class Refuses:
    def find_spec(self, name, *others):
        if name.partition(".")[0] == "robotrace":
            raise SystemExit("no such package")
sys.meta_path.insert(0, Refuses())
assert pickle.loads(open(sys.argv[1], "rb").read()) == ("step", [1, 2])
assert not any(name.startswith("robotrace") for name in sys.modules)
"""
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "message")]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit, GeneratorExit, RecursionError])
def test_whatever_raises_while_it_is_answered_the_message_is_there(
    known: bool, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises() -> Any:
        raise error

    sent = pickle.dumps(_Asking(MESSAGE, question(known)))
    monkeypatch.setattr(answers, "_inside", raises)
    assert_message(pickle.loads(sent))


@pytest.mark.parametrize("known", [True, False])
def test_ctrl_c_while_it_is_answered_passes(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Mechanism: the worker's own handling of it must not be taken away.
    def interrupted() -> Any:
        raise KeyboardInterrupt

    sent = pickle.dumps(_Asking(MESSAGE, question(known)))
    monkeypatch.setattr(answers, "_inside", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pickle.loads(sent)


def test_a_carrier_is_the_pipe_in_everything_and_gone_once_something_is_sent() -> None:
    ours, theirs = multiprocessing.Pipe()
    pipes: list[Any] = [None, ours]
    pipes[1] = carrier = _Carrier(pipes, 1, ours, "step", question(known=True))
    assert carrier.closed is False
    assert carrier.fileno() == ours.fileno()
    assert carrier.poll(0) is False
    carrier.send(("reset", {"seed": 3}))  # not what it was made for
    assert pipes == [None, ours]
    assert theirs.recv_bytes() == bytes(multiprocessing.reduction.ForkingPickler.dumps(("reset", {"seed": 3})))
    carrier.send(MESSAGE)
    assert_message(theirs.recv())


def test_what_cannot_be_pickled_raises_what_it_raises_without_us() -> None:
    ours, _theirs = multiprocessing.Pipe()
    raised = []
    for carried in (False, True):
        pipes: list[Any] = [ours]
        pipe = _Carrier(pipes, 0, ours, "step", question(known=True)) if carried else ours
        with pytest.raises(Exception, match=r"pickle|Pickl|local") as caught:
            pipe.send(("step", lambda: None))
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_only_gymnasiums_own_vector_of_this_process_is_asked(vector: Any) -> None:
    assert workers_of(vector) is not None
    assert workers_of(gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")])) is None
    assert workers_of(object()) is None
    vector.worker = print
    assert workers_of(vector) is None
    del vector.worker
    vector.processes[0]._parent_pid += 1  # as in a forked child
    try:
        assert workers_of(vector) is None
    finally:
        vector.processes[0]._parent_pid -= 1


def test_a_reset_and_its_first_step_answer_and_nothing_else_does(vector: Any) -> None:
    asked = workers_of(vector)
    assert asked is not None
    asked.ask_before(1, "reset")
    vector.reset(seed=[None, 5], options={"a": 1})
    assert asked.facts(0) is None  # never asked: that is no silence
    assert asked.can_ask(0)
    facts = asked.facts(1)
    assert facts is not None
    assert facts["env_id"] == "CartPole-v1"
    assert asked.begun(1)
    assert not asked.begun(0)
    vector.call("render_mode")
    asked.ask_after()
    vector.call("render_mode")  # no step: the question does not ride on it
    assert list(asked.answers()) == [(1, None)]
    asked.ask_before(1, "reset")
    vector.reset(seed=[None, 5], options={"a": 1})
    assert asked.begun(1)
    asked.ask_after()
    vector.step(np.zeros(2, int))
    ((index, found),) = asked.answers()
    assert index == 1
    assert found is not None
    assert (found["seed"], found["resets_since_seed"], found["reset_options"]) == (5, 0, {"a": 1})
    assert "generator_state" not in found
    assert list(asked.answers()) == []
    asked.close()


@pytest.mark.skipif(gym.__version__.startswith("0."), reason="it resets within the step")
def test_a_step_that_is_no_reset_is_not_taken_for_one(vector: Any) -> None:
    asked = workers_of(vector)
    assert asked is not None
    vector.reset(seed=1)
    asked.ask_before(0, "step")
    vector.step(np.zeros(2, int))
    assert asked.begun(0)
    asked.ask_after()
    vector.step(np.zeros(2, int))
    assert list(asked.answers()) == [(0, None)]
    asked.close()


def test_a_folder_of_another_process_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    workers._remove(os.getpid() + 1, str(tmp_path / "theirs"))
    assert (tmp_path / "theirs").exists()
    workers._remove(os.getpid(), str(tmp_path / "theirs"))
    assert not (tmp_path / "theirs").exists()
