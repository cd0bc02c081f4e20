"""One recorded step: flat observations, Dicts, infos. Microseconds a step."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from itertools import count
from typing import Any

import gymnasium as gym
from worlds import Nested, actions_for, endless

__all__ = ["measure"]

_numbers = count()


def measure(contestant: str, *, env_id: str, steps: int) -> dict[str, Any]:
    """``wall_us``, ``thread_us``: the loop, by the clock and by its thread's CPU time; ``total_us``, ``cpu_us``: until
    the file is ready, by the clock and by the CPU time of all threads.
    """
    env: Any = Nested(int(env_id.partition(":")[2])) if env_id.startswith("dict:") else endless(env_id)
    folder = tempfile.mkdtemp(prefix="robotrace-bench-")
    try:
        if contestant == "robotrace-dev":
            return _rollout(env, steps, folder)
        actions = actions_for(env, steps)
        env, finish = _recorded(env, contestant, folder)
        env.reset(seed=0)
        cpu, thread, began = time.process_time_ns(), time.thread_time_ns(), time.perf_counter_ns()
        for action in actions:
            env.step(action)
        wall, thread = time.perf_counter_ns() - began, time.thread_time_ns() - thread
        finish()
        total, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu
        spent = {"wall_us": wall, "thread_us": thread, "total_us": total, "cpu_us": cpu}
        return {name: value / steps / 1e3 for name, value in spent.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _recorded(env: Any, contestant: str, folder: str) -> tuple[Any, Any]:
    if contestant in ("ours", "infos", "unsampled", "attached"):
        import robotrace
        from robotrace_gymnasium import RoboTraceRecorder

        options: dict[str, Any] = {"video": False, "max_per_minute": None}
        if contestant == "unsampled":
            options["max_episodes"] = 0
        if contestant == "infos":
            options["infos"] = True
        env = robotrace.attach(env, **options) if contestant == "attached" else RoboTraceRecorder(env, **options)

        def finish() -> None:
            if contestant == "attached":
                robotrace.detach(env)
            env.close()
            if not robotrace.flush():
                raise RuntimeError("the episode was not sealed within a minute")

        return env, finish
    if contestant == "statistics":
        env = gym.wrappers.RecordEpisodeStatistics(env)
    elif contestant == "noop":
        env = gym.Wrapper(env)
    elif contestant == "monitor":
        from stable_baselines3.common.monitor import Monitor

        env = Monitor(env, os.path.join(folder, "monitor"))  # noqa: PTH118 - its own form
    elif contestant == "minari":
        import minari

        env = minari.DataCollector(env)
        collector = env

        def create() -> None:
            name = f"bench/steps{next(_numbers)}-v0"
            collector.create_dataset(dataset_id=name, algorithm_name="random", author="b", author_email="b@b.invalid",
                                     code_permalink="https://bench.invalid", description="bench")  # fmt: skip
            collector.close()
            minari.delete_dataset(name)

        return env, create
    elif contestant == "rerun":
        return _with_rerun(env, folder)
    elif contestant != "bare":
        raise ValueError(contestant)
    return env, env.close


def _with_rerun(env: Any, folder: str) -> tuple[Any, Any]:
    import rerun as rr

    class Logged(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            result = self.env.step(action)
            rr.log("observation", rr.Scalars(result[0]))
            rr.log("reward", rr.Scalars(result[1]))
            return result

    rr.init("bench", recording_id=f"steps{next(_numbers)}")
    rr.save(f"{folder}/run.rrd")
    return Logged(env), rr.disconnect


def _rollout(env: Any, steps: int, folder: str) -> dict[str, Any]:
    """robotrace-dev runs the loop itself and writes its files in the same call: no loop without the end."""
    from robotrace.adapters.gymnasium import encode_rollout

    actions = iter(actions_for(env, steps))
    cpu, began = time.process_time_ns(), time.perf_counter_ns()
    encode_rollout(env, folder, policy=lambda *_: next(actions), seed=0, max_steps=steps, record_video=False)
    total, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu
    env.close()
    spent = {"wall_us": total, "thread_us": cpu, "total_us": total, "cpu_us": cpu}
    return {name: value / steps / 1e3 for name, value in spent.items()}
