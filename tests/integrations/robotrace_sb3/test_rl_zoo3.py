"""From rl_zoo3's ``callback:`` setting, by the dotted name: no line of code."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Not imported: it puts a TimeLimit of its own into Gymnasium, and other tests' episodes would not happen again.
if importlib.util.find_spec("rl_zoo3") is None:
    pytest.skip("rl_zoo3 is not installed", allow_module_level=True)

from recorded import sealed

ALGORITHM = """\
CartPole-v1:
  n_envs: 2
  n_timesteps: !!float 400
  policy: MlpPolicy
  n_steps: 64
  batch_size: 64
  n_epochs: 1
  callback: {callback}
"""


@pytest.mark.parametrize(
    "callback",
    [
        "robotrace_sb3.RoboTraceCallback",
        "\n    - robotrace_sb3.RoboTraceCallback:\n        every_n_episodes: 2\n        tags: [zoo]",
    ],
    ids=["name", "options"],
)
def test_the_zoo_records_by_a_dotted_name(callback: str, tmp_path: Path) -> None:
    (tmp_path / "ppo.yml").write_text(ALGORITHM.format(callback=callback))
    command = [
        sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo", "--env", "CartPole-v1", "--seed", "3",
        "--conf-file", str(tmp_path / "ppo.yml"), "--log-folder", str(tmp_path / "logs"), "--n-eval-envs", "1",
        "--eval-freq", "150", "--eval-episodes", "2", "--device", "cpu", "--num-threads", "1", "--verbose", "0",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SDL_VIDEODRIVER": "dummy"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    episodes = sealed()
    phases = [one.metadata["phase"] for one in episodes]
    assert phases.count("eval") >= 4
    train = [one for one in episodes if one.metadata["phase"] == "train"]
    assert {one.metadata["vector"]["index"] for one in train} == {0, 1}
    assert {one.metadata["training"]["seed"] for one in episodes} == {3}
    if "tags" in callback:
        assert {one.metadata["episode_index"] % 2 for one in train} == {0}
        assert len(train) > 2
        assert all(one.metadata["tags"] == ["zoo"] for one in episodes)
