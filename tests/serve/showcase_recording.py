"""Records the episodes of the showcase and sends them as any robot would: a process of its own, told by variables.

``python showcase_recording.py ARMS POLES``: so many episodes of an arm that puts a cube into a tray, and so many of
CartPole under the demo's two policies.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from showcase_pictures import GOAL, LINKS_M, front_view, joints_in_space, top_view, wrist_view
from showcase_plan import PICKS, Pick

import robotrace
from robotrace.types import Battery

HZ = 30
PATH = (  # until when, where over the table, how high, how wide the fingers are
    (0.6, "home", 0.34, 0.08),
    (1.9, "cube", 0.22, 0.08),
    (2.8, "cube", 0.05, 0.08),
    (3.3, "cube", 0.05, 0.058),
    (4.2, "cube", 0.26, 0.058),
    (5.6, "tray", 0.26, 0.058),
    (6.3, "tray", 0.09, 0.058),
    (6.7, "tray", 0.09, 0.08),
    (7.6, "home", 0.34, 0.08),
)
JOINTS = (
    *("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow_flex"),
    *("forearm_roll", "wrist_flex", "wrist_roll"),
)
LOW = np.array([-2.6, -0.2, -2.8, -2.6, -2.8, -2.4, -3.0])
HIGH = np.array([2.6, 1.9, 2.8, -0.1, 2.8, 0.6, 3.0])
METADATA = {
    "task": "put the orange cube into the tray",
    "action_bounds": {"low": LOW.tolist(), "high": HIGH.tolist()},
    "streams": {
        "observation.position": {"names": list(JOINTS), "unit": "rad"},
        "observation.velocity": {"names": list(JOINTS), "unit": "rad/s"},
        "action": {"names": list(JOINTS), "unit": "rad"},
        "effort": {"names": list(JOINTS), "unit": "Nm"},
        "tip": {"names": ["x", "y", "z"], "unit": "m"},
        "wrist_force": {"names": ["x", "y", "z"], "unit": "N"},
        "gripper": {"unit": "m"},
    },
}


REASONS = {
    "slipped": "the cube slipped out of the gripper",
    "out of reach": "nothing between the fingers",
    "force lost": "the grasp could not be felt",
    "NaN": "watchdog: a joint target is no number",
    "brownout": "emergency stop: the arm does not follow",
    "stall": "watchdog: no command within 500 ms",
}


def angles_at(x: float, y: float, height: float) -> NDArray[np.float64]:
    """The seven angles that bring the tip there, the hand pointing down; stretched where it cannot get there."""
    _, upper, fore, hand = LINKS_M
    reach, rise = float(np.hypot(x, y)), height + hand - LINKS_M[0]
    distance = float(np.hypot(reach, rise))
    bend = float(np.arccos(np.clip((upper**2 + fore**2 - distance**2) / (2 * upper * fore), -1, 1)))
    lift = np.arctan2(rise, reach) + np.arccos(
        np.clip((upper**2 + distance**2 - fore**2) / (2 * upper * max(distance, 1e-6)), -1, 1)
    )
    elbow = bend - np.pi
    wrist = -np.pi / 2 - lift - elbow
    return np.array([np.arctan2(y, x), lift, 0.0, elbow, 0.0, wrist, 0.0])


def target_at(t: float, cube: tuple[float, float]) -> tuple[NDArray[np.float64], float]:
    """What the policy asks for: seven angles, and how wide the fingers are."""
    places = {"home": (0.34, 0.0), "cube": cube, "tray": GOAL}
    begin, before = 0.0, PATH[0]
    for step in PATH:
        if t < step[0]:
            share = (t - begin) / (step[0] - begin)
            break
        begin, before, share = step[0], step, 1.0
    share = share**3 * (10 - 15 * share + 6 * share**2)
    a = angles_at(*places[before[1]], before[2])
    b = angles_at(*places[step[1]], step[2])
    asked = a + (b - a) * share
    asked[[2, 4, 6]] = 0.12 * np.sin([0.9 * t, 0.7 * t + 1, 1.1 * t + 2])
    return asked, before[3] + (step[3] - before[3]) * share


def pick(episode: Any, plan: Pick, rng: np.random.Generator) -> None:
    """The loop of an episode."""
    place = (0.95, 0.30) if plan.fault == "out of reach" else tuple(rng.uniform((0.36, 0.18), (0.44, 0.34)))
    cube = np.array([*place, 0.03])
    at = float(rng.uniform(3.4, 4.4))
    angles, speed = target_at(0.0, place)[0], np.zeros(7)
    held, total, t, fall = False, 0.0, 0.0, 0.0
    jitter = 0.02 if plan.source == "real" else 0.0
    for step in range(round(PATH[-1][0] * HZ)):
        broken = plan.fault is not None and t >= at
        if broken and plan.fault == "no answer" and t > at + 1.0:
            raise TimeoutError("gripper: no answer within 50 ms")
        seen = angles + rng.normal(0, 4e-4, 7)
        if broken and plan.fault == "NaN":
            seen[3] = np.nan
        asked, opening = target_at(t, place)
        asked = asked + rng.normal(0, 2e-3, 7)
        if not np.isfinite(seen).all() and t > at + 0.2:
            asked = asked * np.nan
        asked = np.clip(asked, LOW, HIGH)
        # Weaker than its brakes once the supply gives way.
        stiff = 0.25 if broken and plan.fault == "brownout" else 1.0
        effort = np.array([14, 22, 9, 12, 3, 2, 1.0]) * (np.nan_to_num(asked, nan=0.0) - angles) * 3 * stiff
        effort[1] += 14 * np.cos(angles[1])
        sensors: dict[str, Any] = {
            "tip": joints_in_space(angles)[-1].astype(np.float32),
            "effort": (effort + rng.normal(0, 0.08, 7)).astype(np.float32),
            "gripper": np.float32(opening),
        }
        force = rng.normal((0, 0, 9.81 * (0.4 + 0.35 * held)), 0.15)
        if not (broken and plan.fault == "force lost"):
            sensors["wrist_force"] = force.astype(np.float32)
        if step % 6 == 0:
            volts = 25.1 - 0.05 * abs(effort).sum() / 10 - 0.02 * t
            sensors["battery"] = Battery(
                percent=74.0 - 0.05 * t,
                voltage_v=volts * (0.74 if broken and plan.fault == "brownout" else 1.0),
                current_a=abs(effort).sum() / 12,
            )
        frames = {"front": front_view(angles, cube, opening, alarm=broken)}
        if step % 2 == 0:
            frames["top"] = top_view(angles, cube)
        if step % 3 == 0:
            frames["wrist"] = wrist_view(angles, cube, opening)
        reward = -float(np.hypot(cube[0] - GOAL[0], cube[1] - GOAL[1]))
        total += reward
        episode.step(
            observation={"position": seen.astype(np.float32), "velocity": speed.astype(np.float32)},
            action=asked.astype(np.float32),
            reward=reward,
            sensors=sensors,
            frames=frames,
            t=t,
        )
        dt = 1 / HZ * (1 + rng.uniform(-jitter, jitter))
        if broken and plan.fault == "stall" and t < at + 1 / HZ:
            dt = 0.8
        wanted = np.where(np.isfinite(asked), asked, angles) if not np.isfinite(asked).all() else asked
        before = angles.copy()
        angles = angles + (wanted - angles) * (1 - np.exp(-9 * stiff * dt))
        if broken and plan.fault == "brownout":
            angles[1] = max(angles[1] - 0.35 * dt, -0.2)
        speed = (angles - before) / dt
        tip = joints_in_space(angles)[-1]
        held = (held or float(np.hypot(*(tip[:2] - cube[:2]))) < 0.04) and opening < 0.062 and tip[2] < 0.4
        if broken and plan.fault in ("slipped", "force lost", "brownout"):
            held = False
        if held:
            cube, fall = tip - (0, 0, 0.02), 0.0
        else:
            fall += 9.81 * dt
            cube = np.array([cube[0], cube[1], max(0.03, cube[2] - fall * dt)])
        t += dt
        if plan.fault in REASONS and t > at + 1.5 and plan.fault != "out of reach":
            break
    inside = max(abs(cube[0] - GOAL[0]), abs(cube[1] - GOAL[1])) < 0.1
    if plan.fault in REASONS:
        episode.fail(REASONS[plan.fault])
    episode.outcome(success=bool(inside), time_to_goal_s=round(t - 0.9, 2) if inside else None)


def record_arm(episodes: int) -> None:
    """The arm's episodes, from two trainings' spans."""
    for number, plan in enumerate(PICKS[:episodes]):
        place = number if plan.place_of is None else plan.place_of
        if plan.source == "real":
            trace = random.Random(number // 3).randbytes(16).hex()
            os.environ["TRACEPARENT"] = f"00-{trace}-{random.Random(1000 + number).randbytes(8).hex()}-01"
        try:
            with robotrace.record(
                name=f"pick the cube #{number + 1}",
                policy_version=plan.policy,
                env_version=plan.env,
                robot=plan.robot,
                source=plan.source,
                seed=4200 + place,
                git_sha=random.Random(plan.policy).randbytes(20).hex(),
                fps=HZ,
                metadata=METADATA,
                realtime=False,
                max_per_minute=None,
                video_size=None,
            ) as episode:
                pick(episode, plan, np.random.default_rng(place))
        except TimeoutError:
            pass
        os.environ.pop("TRACEPARENT", None)


def record_poles(episodes: int) -> None:
    """The demo's episodes."""
    from robotrace_gymnasium.demo import cartpole

    for _ in cartpole(episodes):
        pass


if __name__ == "__main__":
    record_poles(int(sys.argv[2]))
    record_arm(int(sys.argv[1]))
    if not robotrace.flush(300):
        sys.exit("not everything has arrived")
