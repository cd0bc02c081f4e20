"""The pictures of an environment that renders on request, or collects them for its user.

With ``render_mode="rgb_array_list"`` an environment keeps its pictures until ``render()`` takes them. What the recorder
takes is kept here, so that the user's own ``render()`` still gives every one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robotrace.capture.attributes import layers, own_attribute
from robotrace.capture.clock import read_attribute

__all__ = ["Renderer", "find_renderer"]

_SINGLE, _LIST = "rgb_array", "rgb_array_list"


class Renderer:
    """Gives the recorder the current picture, and the user all that are his.

    Args:
        render: The environment's own ``render``.
        collects: It gives a list of pictures, and forgets them.
        cleans: It forgets at each reset what was not asked for.
    """

    def __init__(self, render: Callable[[], Any], *, collects: bool, cleans: bool) -> None:
        self.collects = collects
        self._render = render
        self._cleans = cleans
        self._taken: list[Any] = []

    def picture(self) -> Any:
        """The picture of the present state; None where there is none."""
        frames = self._render()
        if not self.collects:
            return frames
        # One that goes on showing what it has once given needs nothing back. Asking costs nothing: the frames exist.
        if len(frames) and not len(self._render()):
            self._taken += frames
        return frames[-1] if len(frames) else None

    def render(self) -> Any:
        """What the user's ``render()`` gives: as without us."""
        frames = self._render()
        if not self._taken:
            return frames
        taken, self._taken = self._taken, []
        return [*taken, *frames]

    def forget(self) -> None:
        """The environment was reset."""
        if self._cleans:
            self._taken = []


def find_renderer(env: Any, render: Callable[[], Any] | None = None) -> Renderer | None:
    """The renderer of an environment.

    Args:
        env: Asked for its ``render_mode``; nothing is rendered.
        render: Instead of ``env.render``.

    Returns:
        None where it makes no pictures.
    """
    mode = read_attribute(env, "render_mode")
    if mode not in (_SINGLE, _LIST):
        return None
    return Renderer(env.render if render is None else render, collects=mode == _LIST, cleans=_cleans_at_reset(env))


def _cleans_at_reset(env: Any) -> bool:
    # Gymnasium's RenderCollection says it in `reset_clean`; that it does so is its default.
    for layer in layers(env):
        found = own_attribute(layer, "reset_clean")
        if isinstance(found, bool):
            return found
    return True
