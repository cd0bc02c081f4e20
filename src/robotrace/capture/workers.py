"""Asking the worker processes of Gymnasium's ``AsyncVectorEnv`` what their environments start from.

Nothing is sent that the vector does not send anyway. A question rides on its ``reset`` or ``step`` message, pickled so
that the worker gets that very message, and answers (:mod:`robotrace.capture.answers`) while it unpickles it: at the
very moment before its environment is reset or steps. The answer is a file, there before the vector's own reply. So
no reply can be taken for another, nobody waits for an answer, and no method of the environment is called. Not so
``AsyncVectorEnv.call``: an exception in it (an environment that is no ``gymnasium.Env``, a result that cannot be
pickled) ends the worker, and a Ctrl-C in it leaves a reply that the next step takes for its own.
"""

from __future__ import annotations

import logging
import operator
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any, Literal

from robotrace.capture.answers import Moment, answer, facts_file, read_answer, reset_file
from robotrace.capture.clock import read_attribute

__all__ = ["Workers", "workers_of"]

_log = logging.getLogger("robotrace")

_VECTOR = "gymnasium.vector.async_vector_env"
_PIPES = "multiprocessing.connection"
_FIRST_QUESTION = """
try:
    from robotrace.capture.answers import answer
    answer(*question)
except KeyboardInterrupt:
    raise
except BaseException:
    pass
"""
"""As source, run by ``exec``: a worker that cannot import this package must unpickle the message all the same."""

Command = Literal["reset", "step"]


def workers_of(vector: Any) -> Workers | None:
    """The workers of a vector, where they can be asked without any risk: of Gymnasium's own class, with its own worker
    function, started by this process. Nothing is imported and nothing sent.
    """
    base = read_attribute(vector, "unwrapped")
    kind = getattr(sys.modules.get(_VECTOR), "AsyncVectorEnv", None)
    pipes, processes = read_attribute(base, "parent_pipes"), read_attribute(base, "processes")
    if kind is None or type(base) is not kind or read_attribute(base, "worker") is not None:
        return None
    if not isinstance(pipes, list) or not isinstance(processes, list) or len(pipes) != len(processes):
        return None
    if any(getattr(process, "_parent_pid", None) != os.getpid() for process in processes):
        return None
    return Workers(base)


class Workers:
    """The worker processes of one vector environment.

    Args:
        vector: An ``AsyncVectorEnv``; kept weakly.
    """

    def __init__(self, vector: Any) -> None:
        self._vector = weakref.ref(vector)
        self._folder = ""
        self._remove: weakref.finalize[..., Workers] | None = None
        self._number = 0
        self._asked: dict[int, int] = {}
        """By environment, the number of the reset it was asked about."""
        self._due: set[int] = set()
        """Which environments are to be asked once more when they take their first step."""
        self._expected: dict[int, int] = {}
        """Of those that were asked in the present step: the number of the reset."""
        self._met: set[int] = set()
        """Which were asked at all."""
        self._answering: set[int] = set()
        """Which have answered before: there this package is imported."""
        self._silent: set[int] = set()
        """Which have not answered, and are not asked again."""
        self._carriers: list[_Carrier] = []

    def can_ask(self, index: int) -> bool:
        """Whether there is any use in asking this one."""
        return index not in self._silent

    def ask_before(self, index: int, command: Command) -> None:
        """Have the worker look at its environment right before it resets it.

        Args:
            index: Which environment.
            command: The message with which the vector has it reset: ``reset``, or in ``NEXT_STEP`` ``step``.
        """
        self._due.discard(index)
        self._asked.pop(index, None)
        self._number += 1
        if self._carry(index, command, "before", self._number):
            self._asked[index] = self._number
            self._met.add(index)

    def begun(self, index: int) -> bool:
        """An episode that is recorded has begun: the worker will look once more when it takes its first step.

        Returns:
            Whether it was asked before the reset; otherwise there is nothing to ask for.
        """
        if index not in self._asked or index in self._silent:
            return False
        self._due.add(index)
        return True

    def ask_after(self) -> None:
        """Before a step: have those look at their environments whose episode has begun with the row before."""
        for index in self._due:
            number = self._asked.pop(index)
            if self._carry(index, "step", "after", number):
                self._expected[index] = number
        self._due.clear()

    def answers(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """After a step: what each one that was asked in it has found out; None where it did not answer."""
        self.recall()
        expected, self._expected = self._expected, {}
        for index, number in expected.items():
            yield index, read_answer(reset_file(self._folder, index), number)

    def facts(self, index: int) -> dict[str, Any] | None:
        """What its worker has said, with the first question, of what stays the same; None where it said nothing."""
        if index in self._silent or index not in self._met:
            return None
        said = read_answer(facts_file(self._folder, index))
        if said is not None:
            self._answering.add(index)
            return said
        _log.debug("the worker process of environment %d does not answer, and is asked no more", index)
        self._silent.add(index)
        self._asked.pop(index, None)
        return None

    def recall(self) -> None:
        """Questions that did not get away, since the vector sent nothing, are not asked."""
        carriers, self._carriers = self._carriers, []
        for carrier in carriers:
            carrier.leave()

    def close(self) -> None:
        """Ask nothing any more."""
        self.recall()
        self._asked.clear()
        self._due.clear()
        self._expected.clear()
        if self._remove is not None:
            self._remove()

    def _carry(self, index: int, command: Command, moment: Moment, number: int) -> bool:
        pipes = read_attribute(self._vector(), "parent_pipes")
        pipe = pipes[index] if isinstance(pipes, list) else None
        if index in self._silent or type(pipe).__module__ != _PIPES:  # one that has died is None
            return False
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="robotrace-")
            self._remove = weakref.finalize(self, _remove, os.getpid(), self._folder)
        question = _Question(self._folder, index, number, moment, known=index in self._answering)
        carrier = _Carrier(pipes, index, pipe, command, question)
        pipes[index] = carrier
        self._carriers.append(carrier)
        return True


class _Carrier:
    """Stands for a pipe until the vector sends something through it, and has a question ride on that."""

    def __init__(self, pipes: list[Any], index: int, pipe: Any, command: Command, question: _Question) -> None:
        self._pipes = pipes
        self._index = index
        self._pipe = pipe
        self._command = command
        self._question = question

    def send(self, message: Any) -> None:
        """As the pipe's."""
        self.leave()
        fits = type(message) is tuple and len(message) == 2 and message[0] == self._command
        self._pipe.send(_Asking(message, self._question) if fits else message)

    def leave(self) -> None:
        """The pipe stands for itself again."""
        if self._pipes[self._index] is self:
            self._pipes[self._index] = self._pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


class _Asking:
    """Comes out of the pipe as the message alone; on the way the question is answered."""

    def __init__(self, message: tuple[Any, Any], question: _Question) -> None:
        self._message = message
        self._question = question
        question.message = message

    def __reduce__(self) -> Any:
        return operator.getitem, ((self._message, self._question), 0)


class _Question:
    """A call of :func:`robotrace.capture.answers.answer` in the process that unpickles it.

    Args:
        folder: Where the answer is expected.
        index: The environment's.
        number: The reset's.
        moment: Before it, or after it.
        known: That process has imported this package before. Then the function is called by its name; compiling the
            source takes 60 µs.
    """

    def __init__(self, folder: str, index: int, number: int, moment: Moment, *, known: bool) -> None:
        self._known = known
        self._asked = folder, index, number, moment
        self.message: Any = None

    def __reduce__(self) -> Any:
        question = (*self._asked, self.message, not self._known)
        return (answer, question) if self._known else (exec, (_FIRST_QUESTION, {"question": question}))


def _remove(pid: int, folder: str) -> None:
    if pid == os.getpid():  # in a forked child the folder is the parent's
        shutil.rmtree(folder, ignore_errors=True)
