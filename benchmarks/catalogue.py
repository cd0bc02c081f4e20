"""All cases, row by row of the targets of the design, and the environments they run in."""

from __future__ import annotations

import os
from typing import Any

from plan import BARE, Case, Contestant, Environment, Target

__all__ = ["CASES", "ENVIRONMENTS"]

ENVIRONMENTS = (
    Environment("own"),
    Environment(
        "learning",
        (
            ("torch==2.13.0",),
            ("stable-baselines3", "minari[hdf5,create]", "gymnasium[classic-control,mujoco]", "moviepy"),
            ("av", "httpx", "click"),
        ),
    ),
    Environment(
        "robotrace-dev",
        (("robotrace-dev==0.3.0", "gymnasium[classic-control,mujoco]", "opencv-python-headless", "av"),),
        with_ours=False,
    ),
    Environment("hydra", (("hydra-core==1.3.8",),)),
    Environment("rerun", (("rerun-sdk", "gymnasium[classic-control,mujoco]"),), with_ours=False),
    Environment("lerobot", (("lerobot", "gymnasium[classic-control]"),), with_ours=False),
)


def _bare(*environments: str) -> tuple[Contestant, ...]:
    return tuple(Contestant(BARE, "bare loop", environment) for environment in environments)


_STEP_CONTESTANTS = (
    *_bare("own", "learning", "robotrace-dev", "rerun"),
    Contestant("noop", "gymnasium.Wrapper that does nothing"),
    Contestant("unsampled", "RoboTrace, episode not sampled"),
    Contestant("ours", "RoboTrace, all columns"),
    Contestant("attached", "RoboTrace, attach()"),
    Contestant("infos", "RoboTrace, all columns and infos"),
    Contestant("statistics", "RecordEpisodeStatistics (keeps no arrays)"),
    Contestant("monitor", "SB3 Monitor (keeps no arrays)", "learning"),
    Contestant("minari", "Minari DataCollector", "learning", share=0.1),
    Contestant("robotrace-dev", "robotrace-dev 0.3.0", "robotrace-dev", share=0.2),
    Contestant("rerun", "rerun rr.log", "rerun", share=0.1),
)
_STEP_TARGETS = (
    Target("recorder, nothing sampled", "unsampled", "wall_us.over_bare", 0.1),
    Target("sensors, flat Box, all columns", "ours", "wall_us.over_bare", 0.7),
    Target("sensors, flat Box, with infos", "infos", "wall_us.over_bare", 1.0),
)


def _steps(env_id: str, steps: int, rounds: int) -> Case:
    return Case(
        name=f"steps-{env_id.partition('-')[0].lower()}",
        title=f"A step of {env_id}, µs over the bare loop",
        module="steps",
        figure="wall_us.over_bare",
        contestants=_STEP_CONTESTANTS,
        size={"env_id": env_id, "steps": steps},
        quick={"env_id": env_id, "steps": 4000},
        rounds=rounds,
        targets=_STEP_TARGETS,
        counts=True,
        beside=("thread_us.over_bare", "total_us.over_bare", "cpu_us.over_bare"),
        notes=("robotrace-dev runs the loop itself: its figure has the writing of the files in it",),
    )


def _dict(leaves: int) -> Case:
    return Case(
        name=f"dict-{leaves}",
        title=f"A step with a Dict observation of {leaves} small leaves, µs over the bare loop",
        module="steps",
        figure="wall_us.over_bare",
        contestants=(
            *_bare("own", "learning"),
            Contestant("ours", "RoboTrace, all columns"),
            Contestant("minari", "Minari DataCollector", "learning", share=0.05),
        ),
        size={"env_id": f"dict:{leaves}", "steps": 8192},
        quick={"env_id": f"dict:{leaves}", "steps": 4000},
        rounds=40,
        beside=("thread_us.over_bare", "total_us.over_bare", "cpu_us.over_bare"),
        targets=(
            Target(f"Dict observation of {leaves} leaves", "ours", "wall_us.over_bare", round(0.3 + 0.1 * leaves, 3)),
        ),
        counts=True,
    )


def _vector(kind: str, envs: int, limit_us: float | None) -> Case:
    names = {"sync": "SyncVectorEnv", "async": "AsyncVectorEnv", "subproc": "SubprocVecEnv"}
    environment = "learning" if kind == "subproc" else "own"
    targets = (
        (Target(f"vector, per vector step of {envs}", "ours", "wall_us.over_bare", limit_us),)
        if limit_us is not None
        else (Target(f"{names[kind]}, speed against bare", "ours", "steps_per_s.ratio", 0.97, "at least"),)
    )
    return Case(
        name=f"vector-{kind}-{envs}",
        title=f"A vector step of {names[kind]}, {envs} CartPoles, "
        + ("µs over the bare loop" if limit_us is not None else "steps a second against the bare loop"),
        module="vectors",
        figure="wall_us.over_bare" if limit_us is not None else "steps_per_s.ratio",
        contestants=(
            *_bare(environment),
            Contestant("ours", "RoboTrace, all environments", environment),
            Contestant("defaults", "RoboTrace, nothing set", environment),
        ),
        size={"kind": kind, "envs": envs, "steps": 2000},
        quick={"kind": kind, "envs": envs, "steps": 200},
        rounds=15,
        targets=targets,
        beside=("thread_us.over_bare", "cpu_us.over_bare"),
    )


_FRAME = Case(
    name="frame",
    title="Training thread, µs a frame of 480×640 (median)",
    module="pictures",
    figure="p50_us",
    contestants=(*_bare("own"), Contestant("ours", "RoboTrace, video")),
    size={"what": "frame", "steps": 1500},
    quick={"what": "frame", "steps": 100},
    rounds=5,
    targets=(
        Target("video, training thread, 480×640, median µs a frame", "ours", "p50_us", 50.0),
        Target("video, training thread, 480×640, p99 µs a frame", "ours", "p99_us", 200.0),
        Target("frames in the file = frames submitted", "ours", "frames_lost", 0.0),
    ),
    beside=("p99_us", "waited_ms", "frames_lost"),
    notes=("a world that takes 4 ms a step, so that a second core can encode meanwhile",),
    fresh=True,
)
_VIDEO = Case(
    name="video",
    title="1,000 steps of CartPole with video, loop and finish, times the bare loop that renders",
    module="video",
    figure="total_s.ratio",
    contestants=(
        *_bare("own", "learning", "robotrace-dev", "lerobot"),
        Contestant("ours", "RoboTrace"),
        Contestant("recordvideo", "RecordVideo", "learning"),
        Contestant("vecvideo", "SB3 VecVideoRecorder", "learning"),
        Contestant("robotrace-dev", "robotrace-dev 0.3.0", "robotrace-dev"),
        Contestant("lerobot", "LeRobotDataset, its defaults", "lerobot"),
    ),
    size={"steps": 1000},
    quick={"steps": 100},
    rounds=7,
    beside=("loop_s.ratio", "cpu_s.ratio"),
    targets=(Target("1,000-step CartPole with video, loop + finish", "ours", "total_s.ratio", 1.15),),
)


def _deferred(env_id: str, steps: int, rounds: int, *, pictures: bool) -> Case:
    making = (
        Contestant("renders", "bare loop that renders, and keeps nothing", share=0.125, rounds=15),
        Contestant("live", "RoboTrace, video made at once", share=0.125, rounds=15),
        Contestant("recordvideo", "RecordVideo", "learning", share=0.0625, rounds=15),
    )
    return Case(
        name=f"deferred-{env_id.partition('-')[0].lower()}",
        title=f"What video costs the loop: a step of {env_id}, µs over the bare loop, which renders nothing",
        module="deferred",
        figure="wall_us.over_bare",
        contestants=(
            *_bare(*(("own", "learning") if pictures else ("own",))),
            Contestant("sensors", "RoboTrace, no video"),
            Contestant("deferred", "RoboTrace, deferred video"),
            *(making if pictures else ()),
        ),
        size={"env_id": env_id, "steps": steps},
        quick={"env_id": env_id, "steps": 400},
        rounds=rounds,
        targets=(Target("deferred video, all columns", "deferred", "wall_us.over_bare", 1.2),),
        beside=("wall_us.ratio", "thread_us.over_bare", "total_us.over_bare", "cpu_us.over_bare"),
        notes=(
            "who makes pictures does so in the first eighth of the steps, RecordVideo, which holds all of them in "
            "memory and encodes after the loop, in the first sixteenth; total_us goes on until the file is ready",
        )
        if pictures
        else ("nobody renders here",),
    )


_END = Case(
    name="end",
    title="An episode's end: the last of 500 steps over an ordinary one, ms; and ms until the episode is sealed",
    module="pictures",
    figure="end_ms",
    contestants=(
        *_bare("own"),
        Contestant("ours", "RoboTrace, sensors"),
        Contestant("ours-video", "RoboTrace, video"),
    ),
    size={"what": "end", "steps": 500, "episodes": 20},
    quick={"what": "end", "steps": 60, "episodes": 3},
    rounds=3,
    beside=("end_max_ms", "reset_ms", "ready_ms"),
    targets=tuple(
        Target(text, contestant, figure, limit)
        for contestant, kind in (("ours", "sensors"), ("ours-video", "video"))
        for text, figure, limit in (
            (f"episode end seen by the loop, {kind}, ms", "end_ms", 1.0),
            (f"file ready after the end, {kind}, ms", "ready_ms", 100.0),
        )
    ),
    fresh=True,
)


def _memory(name: str, title: str, what: str, steps: int, rounds: int, peers: bool = False) -> Case:
    growth = Target(f"trainer's memory growth, {title}, MB", "ours", "growth_mb", 16.0)
    worker = Target("encoder's process, 480×640, MB", "ours", "worker_mb", 45.0)
    others = (
        *_bare("learning", "robotrace-dev"),
        Contestant("recordvideo", "RecordVideo", "learning"),
        Contestant("vecvideo", "SB3 VecVideoRecorder", "learning"),
        Contestant("robotrace-dev", "robotrace-dev 0.3.0", "robotrace-dev"),
    )
    return Case(
        name=name,
        title=f"Growth of the trainer's memory, {title}, MB",
        module="memory",
        figure="growth_mb",
        contestants=(*_bare("own"), Contestant("ours", "RoboTrace"), *(others if peers else ())),
        size={"what": what, "steps": steps},
        quick={"what": what, "steps": 200 if what == "frames" else 10_000},
        rounds=rounds,
        quick_rounds=1,
        beside=("worker_mb", "worker_rss_mb") if what == "frames" else (),
        targets=(growth, worker) if what == "frames" else (growth,),
        notes=("worker_mb is PSS and worker_rss_mb RSS, both without the frame ring, which counts as growth",)
        if what == "frames"
        else (),
        fresh=True,
    )


_LOSSES = Case(
    name="losses",
    title="1,001 numbered frames: how many the video shows at a wrong place or not at all",
    module="losses",
    figure="shown_wrongly",
    contestants=(
        Contestant("ours", "RoboTrace"),
        Contestant("recordvideo", "RecordVideo", "learning"),
        Contestant("vecvideo", "SB3 VecVideoRecorder", "learning"),
        Contestant("robotrace-dev", "robotrace-dev 0.3.0", "robotrace-dev"),
    ),
    size={"what": "whole", "steps": 1000},
    quick={"what": "whole", "steps": 100},
    rounds=1,
    quick_rounds=1,
    beside=("frames_missing", "frames_in_file"),
    targets=(
        Target("frames in the file = frames submitted", "ours", "frames_missing", 0.0),
        Target("frames in the file in order", "ours", "shown_wrongly", 0.0),
    ),
    fresh=True,
)
_KILLED = Case(
    name="killed",
    title="SIGKILL of the trainer while it makes a step every 2 ms: seconds of sensors lost",
    module="losses",
    figure="seconds_lost",
    contestants=(Contestant("ours", "RoboTrace"),),
    size={"what": "killed", "steps": 1500},
    quick={"what": "killed", "steps": 2000},  # so that a slow disk has a block of it, too
    rounds=5,
    quick_rounds=1,
    beside=("steps_lost", "frames_missing", "frames_in_file"),
    targets=(
        Target("SIGKILL of the trainer, frames lost", "ours", "frames_missing", 0.0),
        # A block is a second here, and is closed by the first step after it.
        Target("SIGKILL of the trainer, at most one block of sensors lost, s", "ours", "seconds_lost", 1.1),
    ),
    fresh=True,
)
_PPO = Case(
    name="ppo",
    title="PPO on 8 CartPoles, 20,480 steps, times the bare training",
    module="ppo",
    figure="total_s.ratio",
    contestants=(
        Contestant(BARE, "bare training", "learning"),
        Contestant("ours-defaults", "RoboTrace, nothing set", "learning"),
        Contestant("ours-sensors", "RoboTrace, sensors of every episode", "learning"),
        Contestant("minari", "Minari DataCollector", "learning"),
        Contestant("ours-cubic", "RoboTrace, and cubic video of one environment", "learning"),
        Contestant("recordvideo-cubic", "RecordVideo, cubic, one environment", "learning"),
        Contestant(
            "vecvideo-cubic", "SB3 VecVideoRecorder, 200 steps at every cube, all environments", "learning", rounds=1
        ),
        Contestant("ours-every", "RoboTrace, video of every episode of one environment", "learning"),
        Contestant("recordvideo-every", "RecordVideo, every episode of one environment", "learning", rounds=2),
        Contestant("ours-deferred", "RoboTrace, deferred video", "learning"),
    ),
    size={"steps": 20_480},
    quick={"steps": 2048},
    rounds=5,
    quick_rounds=1,
    beside=("loop_s.ratio", "cpu_s.ratio"),
    targets=(
        Target("PPO, 8 envs: sensors", "ours-sensors", "total_s.ratio", 1.03),
        Target("PPO, 8 envs: cubic video", "ours-cubic", "total_s.ratio", 1.12),
        Target("PPO, 8 envs: deferred video", "ours-deferred", "total_s.ratio", 1.03),
        Target("PPO, 8 envs: final weights, sensors", "ours-sensors", "weights", None, "same"),
        Target("PPO, 8 envs: final weights, cubic video", "ours-cubic", "weights", None, "same"),
        Target("PPO, 8 envs: final weights, deferred video", "ours-deferred", "weights", None, "same"),
    ),
)
_UPLOADING = Case(
    name="uploading",
    title="A pure-Python loop while its process uploads, speed over that of the loop alone",
    module="uploading",
    figure="speed",
    contestants=(
        Contestant(BARE, "the loop alone"),
        Contestant("fast", "uploading to a fast server, default cap"),
        Contestant("slow", "uploading to a server that takes 1 MB/s, default cap"),
        Contestant("uncapped", "uploading to a fast server, no cap"),
    ),
    size={"seconds": 5},
    quick={"seconds": 1},
    rounds=7,
    scales="seconds",
    beside=("uploaded_mb_s",),
    notes=("slices of 0.25 s with the upload going and held, in turn; a round's figure is their median",),
    targets=(
        Target("speed of the loop while uploading to a fast server", "fast", "speed", 0.95, "at least"),
        Target("speed of the loop while uploading to a slow server", "slow", "speed", 0.95, "at least"),
    ),
)


def _callback(algorithm: str, steps: int, quick: int) -> Case:
    return Case(
        name=f"sb3-{algorithm.lower()}",
        title=f"{algorithm} on 8 CartPoles with RoboTraceCallback, {steps:,} steps, speed against the bare training",
        module="ppo",
        figure="steps_per_s.ratio",
        contestants=(
            Contestant(BARE, "bare training"),
            Contestant("callback", "RoboTraceCallback(), nothing set; environments that render"),
        ),
        size={"steps": steps, "algorithm": algorithm},
        quick={"steps": quick, "algorithm": algorithm},
        rounds=4,
        quick_rounds=1,
        beside=("total_s.ratio", "cpu_s.ratio"),
        targets=(
            Target(f"{algorithm}, 8 envs: callback, speed", "callback", "steps_per_s.ratio", 0.97, "at least"),
            Target(f"{algorithm}, 8 envs: final weights, callback", "callback", "weights", None, "same"),
        ),
    )


def _startup(what: str, title: str, ours: str, environment: str) -> Case:
    return Case(
        name=f"startup-{what}",
        title=title,
        module="startup",
        figure="cpu_ms.over_bare",
        contestants=(*_bare(environment), Contestant("ours", ours, environment)),
        size={"what": what, "steps": 5},
        quick={"what": what, "steps": 1},
        rounds=20,
        targets=(Target("start of a program that is not recorded, ms", "ours", "cpu_ms.over_bare", 10.0),),
        beside=("start_ms.over_bare",),
    )


def _deployment(
    what: str,
    title: str,
    figure: str,
    size: dict[str, Any],
    quick: dict[str, Any],
    beside: tuple[str, ...],
    *targets: Target,
    on_servers: bool = True,
) -> Case:
    postgres = Contestant(
        "postgres",
        "PostgreSQL, and the bucket where one is named",
        absent=None if os.environ.get("ROBOTRACE_BENCH_DATABASE") else "ROBOTRACE_BENCH_DATABASE names no database",
    )
    return Case(
        name=f"deployment-{what}",
        title=title,
        module="deployment",
        figure=figure,
        contestants=(Contestant("embedded", "SQLite and a folder"), *((postgres,) if on_servers else ())),
        size={"what": what, **size},
        quick={"what": what, **quick},
        rounds=3,
        quick_rounds=1,
        fresh=True,
        scales=next(iter(size)),
        beside=beside,
        targets=targets,
    )


_INGEST = _deployment(
    "ingest",
    "Episodes a second from 8 writers; each is a create, two PUTs of 64 KiB and a finalize",
    "episodes_per_s",
    {"writers": 8, "seconds": 10.0, "nbytes": 65536},
    {"writers": 2, "seconds": 0.5, "nbytes": 1024},
    ("create_p50_ms", "create_p99_ms", "put_p50_ms", "put_p99_ms", "finalize_p50_ms", "finalize_p99_ms"),
)
_LIST = _deployment(
    "list",
    "The newest 50 of 100,000 episodes over HTTP, ms",
    "newest_p50_ms",
    {"episodes": 100_000, "requests": 200},
    {"episodes": 1000, "requests": 10},
    (
        "newest_p99_ms",
        "failed_p50_ms",
        "policy_p50_ms",
        "seed_p50_ms",
        "robot_p50_ms",
        "rare_reason_p50_ms",
        "rare_name_p50_ms",
        "last_page_ms",
        "twin_p50_ms",
        "page_p50_ms",
        "policies_p50_ms",
    ),
    Target("newest 50 of 100,000 over HTTP, ms", "embedded", "newest_p50_ms", 5.0),
)
_FILES = _deployment(
    "files",
    "MiB a second into a deployment, by one PUT",
    "put_mib_per_s",
    {"mib": 512, "requests": 500},
    {"mib": 4, "requests": 20},
    ("zip_mib_per_s", "ranges_per_s", "range_p50_ms"),
    Target("PUT, MiB a second", "embedded", "put_mib_per_s", 200.0, "at least"),
    Target("Range requests a second, one after the other", "embedded", "ranges_per_s", 300.0, "at least"),
    on_servers=False,  # into and out of a bucket they go past the deployment
)

_WRONG = "wrong frames"


def _portal(
    what: str,
    title: str,
    figure: str,
    size: dict[str, Any],
    quick: dict[str, Any],
    beside: tuple[str, ...],
    *targets: Target,
    contestants: tuple[Contestant, ...] = (Contestant("chromium", "Chromium"),),
) -> Case:
    return Case(
        name=f"portal-{what}",
        title=title,
        module="portal",
        figure=figure,
        contestants=contestants,
        size={"what": what, **size},
        quick={"what": what, **quick},
        rounds=3,
        quick_rounds=1,
        fresh=True,
        scales=next(iter(size)),
        beside=beside,
        targets=targets,
        notes=("Debian's Chromium without a GPU; it decodes and draws on the same cores that serve",),
    )


_SCRUB_KINDS = {
    "constant": "one camera, constant rate",
    "variable": "one camera, variable rate",
    "cameras": "three cameras of different rates in one file",
}
_SCRUB = _portal(
    "scrub",
    "From a move of the scrubber until the right picture is on screen, p95, ms; 640×480, all cameras",
    "scrub_p95_ms",
    {"seeks": 100, "seconds": 20.0, "streams": 2, "points": 3000},
    {"seeks": 5, "seconds": 2.0, "streams": 1, "points": 100},
    ("scrub_p50_ms", "wrong_frames", "ready_ms"),
    *(Target(f"scrub p50, {label}, ms", kind, "scrub_p50_ms", 20.0) for kind, label in _SCRUB_KINDS.items()),
    *(Target(f"scrub p95, {label}, ms", kind, "scrub_p95_ms", 50.0) for kind, label in _SCRUB_KINDS.items()),
    *(Target(f"{_WRONG}, {label}", kind, "wrong_frames", 0.0) for kind, label in _SCRUB_KINDS.items()),
    contestants=tuple(Contestant(kind, label) for kind, label in _SCRUB_KINDS.items()),
)
_PAGE = _portal(
    "page",
    "Until the page of an episode is there, ms: video of 30 s, 10 × 10,000 points; a running browser, its cache empty",
    "ready_ms",
    {"streams": 10, "points": 10_000, "seconds": 30.0},
    {"streams": 2, "points": 100, "seconds": 2.0},
    ("heap_mib", "tab_mib"),
    Target("replay page ready with video and 10 × 10,000 points, ms", "chromium", "ready_ms", 500.0),
)
_STREAMS = _portal(
    "streams",
    "Until 20 streams of 100,000 points are drawn, ms, from the answer in hand",
    "drawn_ms",
    {"streams": 20, "points": 100_000, "seconds": 0.0},
    {"streams": 2, "points": 1000, "seconds": 0.0},
    ("zoom_ms", "ready_ms", "heap_mib", "tab_mib"),
    Target("20 × 100,000 points drawn, ms", "chromium", "drawn_ms", 250.0),
    Target("zoom of them, ms", "chromium", "zoom_ms", 60.0),
)
_HOUR = _portal(
    "hour",
    "An hour at 30 frames/s with streams at 100 Hz: a scrub, p95, ms",
    "scrub_p95_ms",
    {"seeks": 100, "seconds": 3600.0, "streams": 4, "points": 360_000, "columns": 6},
    {"seeks": 5, "seconds": 20.0, "streams": 1, "points": 2000, "columns": 2},
    ("scrub_p50_ms", "wrong_frames", "ready_ms", "heap_mib", "tab_mib"),
    Target("scrub p50 of an hour, ms", "chromium", "scrub_p50_ms", 20.0),
    Target("scrub p95 of an hour, ms", "chromium", "scrub_p95_ms", 50.0),
    Target(f"{_WRONG} of an hour", "chromium", "wrong_frames", 0.0),
)

CASES = (
    _steps("CartPole-v1", 8192, 60),
    _steps("HalfCheetah-v5", 4096, 40),
    _steps("Ant-v5", 1250, 40),
    _dict(1),
    _dict(4),
    _dict(16),
    _vector("sync", 8, 5.0),
    _vector("sync", 64, 10.0),
    _vector("async", 8, None),
    _vector("subproc", 8, None),
    _FRAME,
    _VIDEO,
    _deferred("CartPole-v1", 8192, 60, pictures=True),
    _deferred("HalfCheetah-v5", 4096, 40, pictures=False),
    _END,
    _LOSSES,
    _KILLED,
    _memory("memory-1000", "1,000 frames", "frames", 1000, 3, peers=True),
    _memory("memory-5000", "5,000 frames", "frames", 5000, 2),
    _memory("memory-50000", "50,000 frames", "frames", 50_000, 1),
    _memory("memory-steps", "a million steps in one episode", "steps", 1_000_000, 1),
    _memory("memory-episodes", "a million steps in 2,000 episodes", "episodes", 1_000_000, 1),
    _PPO,
    _UPLOADING,
    _callback("PPO", 122_880, 4096),
    _callback("DQN", 1_600_000, 2000),
    _startup(
        "hydra",
        "A Hydra app that does nothing, ms of CPU time over one without the plugin",
        "RoboTrace, switched off",
        "hydra",
    ),
    _startup("run", "A program that does nothing, ms of CPU time over the bare one", "robotrace run", "own"),
    _INGEST,
    _LIST,
    _FILES,
    _SCRUB,
    _PAGE,
    _STREAMS,
    _HOUR,
)
