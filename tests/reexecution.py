"""Makes a recorded episode happen again, from nothing but its ``metadata.reproduce`` and its ``actions.npz``.

Run as a program it is the fresh process: it reads paths from the command line, and writes what happened as a pickle.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["again", "environment", "same"]

_SCRIPT = "the_recorded_script"
_SOURCES = [
    entry
    for entry in sys.path
    if any(Path(entry or ".", package).is_dir() for package in ("robotrace", "robotrace_gymnasium"))
]


def again(reproduce: dict[str, Any], actions: Path, folder: Path) -> dict[str, Any]:
    """What happens in a fresh process: ``observations`` (N + 1), ``rewards``, ``terminated`` and ``truncated`` (N)."""
    folder.mkdir()
    (folder / "reproduce.json").write_text(json.dumps(reproduce))
    command = [sys.executable, __file__, str(folder / "reproduce.json"), str(actions), str(folder / "happened")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return pickle.loads((folder / "happened").read_bytes())


def environment() -> dict[str, str]:
    """For a child that imports this RoboTrace."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(_SOURCES)}


def same(ours: Any, theirs: Any) -> bool:
    """Equal to the bit, dtype and shape included; a Python number is what NumPy makes of it."""
    if isinstance(ours, dict) or isinstance(theirs, dict):
        mappings = isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys()
        return mappings and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, str) or isinstance(theirs, str):
        return type(ours) is type(theirs) and ours == theirs
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    if ours is None or theirs is None:
        return ours is theirs
    one, other = np.asarray(ours), np.asarray(theirs)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:  # its bytes are addresses
        return all(same(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return one.tobytes() == other.tobytes()


def _run(reproduce: dict[str, Any], actions: Path) -> dict[str, Any]:
    import gymnasium as gym

    from robotrace.plugin import read_arrays, read_rows

    assert reproduce["reproducible"], reproduce["reason"]
    env = gym.make(_spec(reproduce))
    seeded = reproduce["resets_since_seed"] == 0
    state = reproduce.get("generator_state")
    if state is not None:
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = _numbers(state)
        env.unwrapped.np_random = np.random.Generator(bits)
    options = reproduce.get("reset_options")
    observation, _ = env.reset(seed=int(reproduce["seed"]) if seeded else None, options=options)
    found: dict[str, list[Any]] = {"observations": [pickle.dumps(observation)]}
    found |= {"rewards": [], "terminated": [], "truncated": []}
    for action in read_rows(read_arrays(actions), "action"):
        observation, reward, terminated, truncated, _ = env.step(action)
        found["observations"].append(pickle.dumps(observation))  # at once: an env may reuse its buffers
        for name, value in (("rewards", reward), ("terminated", terminated), ("truncated", truncated)):
            found[name].append(value)
    found["observations"] = [pickle.loads(row) for row in found["observations"]]
    return found


def _spec(reproduce: dict[str, Any]) -> Any:
    from gymnasium.envs.registration import EnvSpec, WrapperSpec

    written = reproduce["env_spec"]
    for *way, last in sorted(reproduce.get("tuples", ()), key=len, reverse=True):
        parent = written
        for step in way:
            parent = parent[step]
        parent[last] = tuple(parent[last])
    for source in reproduce.get("sources", ()):
        sys.path.append(source["folder"])
    for source in reproduce.get("sources", ()):
        if source["module"] == "__main__":
            _load_script(source["file"])
    for part in (written, *written["additional_wrappers"]):
        part["entry_point"] = part["entry_point"].replace("__main__:", f"{_SCRIPT}:")
    wrappers = tuple(WrapperSpec(**wrapper) for wrapper in written.pop("additional_wrappers"))
    spec = EnvSpec(**written)
    spec.additional_wrappers = wrappers
    return spec


def _load_script(file: str) -> None:
    """As a module of another name, so that what it does under ``if __name__ == "__main__"`` is not done again."""
    spec = importlib.util.spec_from_file_location(_SCRIPT, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_SCRIPT] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _numbers(value) for key, value in state.items()}
    if isinstance(state, list):
        return np.array([_numbers(value) for value in state], np.uint64)
    return int(state) if isinstance(state, str) and state.isdigit() else state


if __name__ == "__main__":
    reproduce_file, actions_file, out = map(Path, sys.argv[1:])
    out.write_bytes(pickle.dumps(_run(json.loads(reproduce_file.read_text()), actions_file)))
