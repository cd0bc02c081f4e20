"""Building a recorded environment again, from nothing but the ``reproduce`` block of an episode's metadata.

What is imported: modules that this interpreter finds by name, in the folders it was told of besides, and (only of an
episode that this user recorded on this machine) in the folders the recording names. What is called: classes derived
from ``gymnasium.Env`` and ``gymnasium.Wrapper``, and functions registered as the entry point of that very id. So a
block that came over a wire can choose among the environments of this machine, and their arguments, and nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import platform
import random
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from robotrace.capture.environment import package_version
from robotrace.reroll.jobs import Difference, Job

__all__ = ["NotReproducible", "RecordedEnvironment"]

_SCRIPT = "robotrace_recorded_script"
"""The name a recorded ``__main__`` is imported under, so that its ``if __name__ == "__main__"`` does not run."""
_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_ONLOOKERS = ("HumanRendering", "RecordVideo", "RenderCollection", "RoboTraceRecorder")
"""Wrappers that are not written down when an episode is recorded, and write or show something themselves."""
_SHA256_SHOWN = 12


class NotReproducible(Exception):
    """The episode cannot be run here; the text says why."""


class RecordedEnvironment:
    """The environment of one recorded episode, to be built as often as needed.

    Args:
        job: The episode; its metadata must have a ``reproduce`` block that says it is reproducible.

    Attributes:
        differences: What decides the numbers and is another here; of the env's own files once :meth:`load` is through.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._block: Mapping[str, Any] = job.metadata["reproduce"]
        self.differences: tuple[Difference, ...] = self._version_differences()
        self._sources = [item for item in self._block.get("sources", ()) if isinstance(item, Mapping)]
        self._gym: Any = None
        self._spec: Any = None

    def load(self) -> None:
        """Import its code.

        Raises:
            NotReproducible: The block cannot be read, or its code cannot be imported.
        """
        self._gym = _gymnasium()
        self._find_sources(self._job)
        self._spec = self._read_spec()
        # Once more: a package that is known by its module only is one now.
        self.differences = (*self._version_differences(), *self._file_differences())

    def build(self, *, render: bool = False, camera: str | None = None) -> Any:
        """Build it, not yet reset; :meth:`load` comes first.

        Args:
            render: With ``render_mode="rgb_array"``.
            camera: Its ``camera_name``.

        Raises:
            NotReproducible: Its constructor, or that of a wrapper, raised.
        """
        more: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
        if camera is not None:
            more["camera_name"] = camera
        try:
            env = self._gym.make(copy.deepcopy(self._spec), **more)
        except Exception as exc:
            raise NotReproducible(f"{self._spec.id} cannot be built here: {type(exc).__name__}: {exc}") from exc
        if camera is not None:
            _require_camera(env, camera)
        return env

    def reset(self, env: Any) -> Any:
        """Reset a built one as it was reset then; returns the observation.

        Raises:
            NotReproducible: The generator's state cannot be restored, or the reset raised.
        """
        # An env that draws from a global generator gets the same numbers each time, whatever ran here before.
        random.seed(0)
        np.random.seed(0)
        block = self._block
        state = block.get("generator_state")
        try:
            if state is not None:
                env.unwrapped.np_random = _generator(state)
            seeded = block.get("resets_since_seed") == 0 and block.get("seed") is not None
            seed = int(block["seed"]) if seeded else None
            observation, _ = env.reset(seed=seed, options=copy.deepcopy(block.get("reset_options")))
        except NotReproducible:
            raise
        except Exception as exc:
            raise NotReproducible(f"its reset raised {type(exc).__name__}: {exc}") from exc
        return observation

    def _find_sources(self, job: Job) -> None:
        folders = [*job.import_from]
        if job.trusts_sources:
            folders += [str(source["folder"]) for source in self._sources]
        for folder in dict.fromkeys(folders):
            if folder not in sys.path:
                sys.path.append(folder)
        script = next((source for source in self._sources if source.get("module") == "__main__"), None)
        if script is not None and _SCRIPT not in sys.modules:
            recorded = Path(str(script["file"]))
            places = [*([recorded] if job.trusts_sources else []), *(Path(each, recorded.name) for each in folders)]
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise NotReproducible(
                    f"its environment was defined in the script {recorded.name}, which is not here; "
                    "--import-from FOLDER says where it is"
                )
            _import_file(found)

    def _read_spec(self) -> Any:
        from gymnasium.envs.registration import EnvSpec, WrapperSpec

        written = copy.deepcopy(dict(self._block["env_spec"]))
        try:
            _restore_tuples(written, self._block.get("tuples", ()))
            wrappers = [item for item in written.pop("additional_wrappers", ()) if item["name"] not in _ONLOOKERS]
            written["entry_point"] = self._checked_point(written.get("entry_point"), written.get("id"), self._gym.Env)
            for wrapper in wrappers:
                wrapper["entry_point"] = self._checked_point(
                    wrapper.get("entry_point"), wrapper["name"], self._gym.Wrapper
                )
            known = EnvSpec.__dataclass_fields__
            spec = EnvSpec(**{key: value for key, value in written.items() if key in known and known[key].init})
            spec.additional_wrappers = tuple(WrapperSpec(**wrapper) for wrapper in wrappers)
        except NotReproducible:
            raise
        except Exception as exc:
            raise NotReproducible(f"its environment's spec cannot be read: {type(exc).__name__}: {exc}") from exc
        return spec

    def _checked_point(self, point: Any, what: Any, base: type) -> str:
        """The entry point as ``module:name``, imported, and found to be what it has to be."""
        module, _, name = str(point).partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            raise NotReproducible(f"{what} has the entry point {point!r}, which is none")
        if module == "__main__":
            module = _SCRIPT
        elif module.endswith(".__main__") or module.partition(".")[0] in sys.stdlib_module_names:
            raise NotReproducible(f"{what} comes from {point}, where no environment is")  # and importing may do much
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as exc:
            raise NotReproducible(
                f"{what} comes from {point}, which cannot be imported here: {type(exc).__name__}: {exc}"
            ) from exc
        if isinstance(found, type):
            fits = issubclass(found, base)
        else:
            registered = self._gym.registry.get(what)
            fits = registered is not None and registered.entry_point in (f"{module}:{name}", found)
        if not fits:
            raise NotReproducible(
                f"{what} comes from {point}, which is no {base.__module__.split('.')[0]} {base.__name__}"
            )
        return f"{module}:{name}"

    def _version_differences(self) -> tuple[Difference, ...]:
        versions = self._block.get("versions")
        here = {"python": platform.python_version(), "machine": platform.machine()}
        return tuple(
            Difference(str(name), str(recorded), now)
            for name, recorded in (versions.items() if isinstance(versions, Mapping) else ())
            if (now := here.get(name) or package_version(name)) != str(recorded)
        )

    def _file_differences(self) -> list[Difference]:
        found = []
        for source in self._sources:
            name = str(source.get("module"))
            file = getattr(sys.modules.get(_SCRIPT if name == "__main__" else name), "__file__", None)
            now = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
            recorded = str(source.get("sha256"))
            if now != recorded:
                shown = None if now is None else now[:_SHA256_SHOWN]
                found.append(Difference(Path(str(source.get("file"))).name, recorded[:_SHA256_SHOWN], shown))
        return found


def _require_camera(env: Any, name: str) -> None:
    # MuJoCo's renderer takes a name it does not know for its free camera, and says nothing.
    find = getattr(getattr(env.unwrapped, "model", None), "camera", None)
    if callable(find):
        try:
            find(name)
        except KeyError as exc:
            env.close()
            raise NotReproducible(f"there is no camera {name!r}: {exc.args[0]}") from exc


def _gymnasium() -> Any:
    try:
        return importlib.import_module("gymnasium")
    except ImportError as exc:
        raise NotReproducible(
            f"gymnasium cannot be imported here ({exc}); run: pip install 'robotrace-dev[gymnasium]'"
        ) from exc


def _restore_tuples(written: Any, paths: Any) -> None:
    # The innermost first: a tuple cannot be changed any more.
    for *way, last in sorted(paths, key=len, reverse=True):
        parent = written
        for step in way:
            parent = parent[step]
        parent[last] = tuple(parent[last])


class _ScriptLoader(SourceFileLoader):
    """Reads a script as ``python FILE`` does: no bytecode beside it, neither written nor believed.

    Bytecode counts as fresh while the source has the same size and the same second of change: a constant changed right
    after a verdict would not be in the next one.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _import_file(path: Path) -> None:
    loader = _ScriptLoader(_SCRIPT, str(path))  # whatever its file is called
    spec = importlib.util.spec_from_loader(_SCRIPT, loader)
    assert spec is not None
    sys.modules[_SCRIPT] = module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        del sys.modules[_SCRIPT]
        raise NotReproducible(
            f"the script {path.name}, which defines its environment, cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc


def _generator(state: Mapping[str, Any]) -> Any:
    name = state.get("bit_generator")
    if name not in _GENERATORS:
        raise NotReproducible(f"its random generator is of the kind {name!r}, which NumPy does not have")
    bits = getattr(np.random, name)()
    bits.state = _numbers(state)
    return np.random.Generator(bits)


def _numbers(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _numbers(value) for key, value in state.items()}
    if isinstance(state, list):
        return np.array([_numbers(value) for value in state], np.uint64)
    return int(state) if isinstance(state, str) and state.isdigit() else state
