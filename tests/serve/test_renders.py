"""Rendering an episode's video later: asked for on its page, or for each one that failed; in a process of its own.

Most tests put a stand-in into that process, which does what the episode's metadata tells it; the last ones run the real
one on real environments, and on episodes made to abuse it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path

import httpx
import numpy as np
import pytest
from polling import eventually

pytest.importorskip("gymnasium")

from rerun_episodes import cartpole_arrays, reproduce, verdict

from robotrace.errors import ConfigurationError
from robotrace.reroll import pool
from robotrace.reroll.jobs import Job
from robotrace.serve import renders as renders_module
from robotrace.serve.database import Database
from robotrace.serve.models import Episode
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .conftest import Api

UNDER_WAY = ("queued", "running")


class Site:
    """A running deployment, seen by a client with a key and by a browser without one."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.url = deployment.base_url
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        self.api = Api(httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60))
        self.web = httpx.Client(base_url=self.url, headers={"Origin": self.url}, trust_env=False, timeout=60)

    def close(self) -> None:
        self.api.http.close()
        self.web.close()

    def render(self, episode, headers=None):
        return self.web.post(f"/portal/episodes/{episode}/render", headers=headers)

    def cancel(self, episode, headers=None):
        return self.web.post(f"/portal/episodes/{episode}/render/cancel", headers=headers)

    def state(self, episode):
        """None when nobody wants it."""
        answer = self.web.get(f"/portal/episodes/{episode}/render.json")
        return None if answer.status_code == 404 else answer.json()

    def end(self, episode):
        """How it ends, and why."""
        eventually(lambda: self.state(episode) and self.state(episode)["state"] not in UNDER_WAY)
        found = self.state(episode)
        return found["state"], found["reason"]

    def rendered(self, episode):
        assert self.render(episode).status_code == 303
        return self.end(episode)

    def kinds(self, episode):
        return {artifact["kind"] for artifact in self.api.episode(episode)["artifacts"]}

    def card(self, episode):
        page = self.web.get(f"/portal/episodes/{episode}").text
        card = re.search(r'<section class="card" id="reproduce">(.*?)</section>', page, re.DOTALL).group(1)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", card)).split())


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "data", port=0)


@pytest.fixture
def serve(settings):
    """Starts deployments on the test's folder, one after the other."""
    sites = []

    def start(**changes):
        deployment = Deployment(replace(settings, **changes))
        deployment.start()
        sites.append(Site(deployment))
        return sites[-1]

    yield start
    for site in sites:
        site.close()
        site.deployment.stop()


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(pool, "_WORKER", "stand_in_worker")


@pytest.fixture
def site(serve, stand_in):
    return serve()


@pytest.fixture
def video(write_video):
    """Three frames of 32 × 32 pixels."""
    return write_video([0, 40, 80])


@pytest.fixture
def episode(site):
    """See :func:`make`."""
    return partial(make, site)


def make(site, *, status="ready", metadata=None, **stand_in):
    """A finalized episode; ``stand_in`` is what happens when it is run again."""
    told = {key: str(value) if isinstance(value, Path) else value for key, value in stand_in.items()}
    whole = {"reproduce": reproduce(), "stand_in": told, **(metadata or {})}
    return site.api.record({"actions": b"a"}, metadata=whole, finalize={"status": status})


def waits(until):
    """The process that waits for this file to be there."""
    path = until.with_name(f"{until.name}.waits")
    eventually(path.exists)
    return int(path.read_text())


def gone(process):
    """Whether it is no more; a killed child that nobody waited for yet still has its id."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def left(settings):
    return list(settings.renders_dir.rglob("*")) if settings.renders_dir.exists() else []


# --- asked for


def test_a_rendered_video_lies_in_its_slot_and_the_metadata_say_so(site, episode, video, settings):
    """Of what the process says of its video nothing is believed that is in the file."""
    recorded = {"deferred": True, "every_n_steps": 2}
    made = episode(writes=video, metadata={"video": recorded})
    before = site.api.episode(made)
    assert site.rendered(made) == ("done", None)
    after = site.api.episode(made)
    assert after["metadata"]["video"] == {
        **recorded,
        "frames": 3,
        "preset": "medium",
        "cameras": [{"name": "render", "track": 0, "width": 32, "height": 32, "frames": 3}],
    }
    assert after["updated_at"] > before["updated_at"]
    assert (after["reproduction"]["verdict"], after["reproduction"]["video"]["path"]) == ("reproduced", "video.mp4")
    stored = site.api.http.get(f"/api/episodes/{made}/artifact/video", follow_redirects=True)
    assert (stored.headers["content-type"], stored.content) == ("video/mp4", video.read_bytes())
    assert site.web.get(f"/portal/episodes/{made}.json").json()["video"]["frame_count"] == 3
    assert site.web.get("/portal/episodes.json").json()["episodes"][0]["has_video"]
    assert left(settings) == []


def test_the_job_says_what_was_recorded_and_trusts_none_of_its_folders(serve, stand_in, settings, tmp_path):
    seen = []

    def run(job, *, limits, on_progress, cancelled, folder):
        seen.append((job, limits, folder, stat.S_IMODE(settings.renders_dir.stat().st_mode)))
        return pool._failed("no")

    own = tmp_path / "envs"
    own.mkdir()
    with Deployment(replace(settings, import_from=(own,)), run=run) as deployment:
        site = Site(deployment)
        metadata = {"reproduce": reproduce(), "video": {"deferred": True, "every_n_steps": 5, "max_edge": 320}}
        made = site.api.record({"actions": b"a"}, metadata=metadata, fps=50.0)
        assert site.rendered(made) == ("failed", "not reproducible: no")
        ((job, limits, folder, mode),) = seen
        site.close()
    assert isinstance(job, Job)
    assert (job.episode_id, job.metadata, job.fps) == (made, metadata, 50.0)
    assert (job.trusts_sources, job.import_from) == (False, (str(own),))
    assert (job.sensors, Path(job.actions)) == (None, settings.objects_dir / "episodes" / made / "actions")
    assert (job.video.every_n_steps, job.video.max_edge) == (5, 320)
    assert (limits.time_s, limits.memory_bytes, limits.nice) == (600, 4 * 1024**3, 10)
    assert folder.is_relative_to(settings.renders_dir)
    assert not Path(job.video.path).is_relative_to(folder)  # what the env writes there is not its video
    assert mode == 0o700


def test_progress_is_told_while_it_runs(site, episode, video, tmp_path):
    until = tmp_path / "until"
    made = episode(steps=5, until=until, writes=video)
    assert site.state(made) is None
    assert site.render(made).headers["location"] == f"/portal/episodes/{made}#reproduce"
    waits(until)
    eventually(lambda: site.state(made)["done"] == 4)
    assert site.state(made) == {"state": "running", "done": 4, "total": 5, "ahead": 0, "reason": None}
    assert "Step 4 of 5 Cancel" in site.card(made)
    until.touch()
    assert site.end(made) == ("done", None)


def test_a_video_of_something_else_is_thrown_away_and_the_page_says_where_it_parted(site, episode, video, settings):
    divergence = {"step": 7, "t_s": 0.14, "stream": "reward", "recorded": "1.0", "here": "0.0", "distance": 1.0}
    made = episode(writes=video, verdict={"verdict": "diverged", "divergence": divergence})
    assert site.rendered(made) == ("failed", "diverged at step 7, reward")
    assert site.kinds(made) == {"actions"}
    assert "video" not in site.api.episode(made)["metadata"]
    assert site.api.episode(made)["reproduction"]["divergence"] == divergence
    assert "No video was kept: diverged at step 7, reward" in site.card(made)
    assert "Render video" in site.card(made)
    assert left(settings) == []


def test_an_episode_that_happens_again_without_a_picture_says_why(site, episode):
    made = episode(verdict={"video_fault": "no GL"})
    assert site.rendered(made) == ("failed", "the episode happened again, but without a picture: no GL")
    assert site.api.episode(made)["reproduction"]["verdict"] == "reproduced"


def test_a_process_that_dies_is_an_answer(site, episode):
    made = episode(dies=True)
    state, reason = site.rendered(made)
    assert state == "failed"
    assert "it broke in the middle" in reason
    assert site.api.episode(made)["reproduction"]["verdict"] == "not_reproducible"


def test_that_it_cannot_run_here_takes_nothing_away_that_is_known(site, episode):
    made = episode(dies=True)
    site.api.http.post(f"/api/ingest/episode/{made}/reproduction", json=verdict())
    assert site.rendered(made)[0] == "failed"
    assert site.api.episode(made)["reproduction"]["verdict"] == "reproduced"


def test_a_file_that_is_no_video_is_not_kept(site, episode, tmp_path):
    (tmp_path / "text").write_text("no video")
    made = episode(writes=tmp_path / "text")
    state, reason = site.rendered(made)
    assert (state, site.kinds(made)) == ("failed", {"actions"})
    assert "cannot be read" in reason


def test_an_answer_that_cannot_be_stored_is_a_failure_and_the_next_one_runs(site, episode, video):
    broken, fine = episode(verdict={"reason": "x" * 5000}), episode(writes=video)
    state, reason = site.rendered(broken)
    assert state == "failed"
    assert "reason" in reason
    assert site.api.episode(broken)["reproduction"] is None
    assert site.rendered(fine) == ("done", None)


def test_what_breaks_here_is_logged_and_the_next_one_runs(site, episode, video, monkeypatch, caplog):
    one, other = episode(writes=video), episode(writes=video)
    with monkeypatch.context() as patch:
        patch.setattr(renders_module, "read_frame_times", lambda path: 1 / 0)
        assert site.rendered(one) == ("failed", "internal error; the log of the deployment says more")
    assert "ZeroDivisionError" in caplog.text
    assert site.rendered(other) == ("done", None)


def test_a_video_that_arrives_meanwhile_stays(site, episode, video, write_video, tmp_path):
    until = tmp_path / "until"
    made = episode(until=until, writes=video)
    site.render(made)
    waits(until)
    signed = site.api.http.post(f"/api/ingest/episode/{made}/upload-urls", json={"kinds": ["video"]}).json()
    other = write_video([0, 33], name="other.mp4").read_bytes()
    assert site.api.put(signed, "video", other).status_code == 200
    until.touch()
    assert site.end(made) == ("failed", "the episode is ready: its video cannot be replaced")
    assert site.api.http.get(f"/api/episodes/{made}/artifact/video", follow_redirects=True).content == other


def test_asking_for_a_video_that_is_there_changes_nothing(site, episode, video):
    made = episode(writes=video)
    site.rendered(made)
    before = site.state(made)
    assert site.render(made).status_code == 303
    assert site.state(made) == before
    assert "Render video" not in site.card(made)


def test_one_runs_at_a_time_and_the_others_wait_in_their_order(site, episode, video, tmp_path):
    until = tmp_path / "until"
    first, second, third = (episode(until=until, writes=video) for _ in range(3))
    for made in (first, second, third, second):  # asking again changes nothing
        site.render(made)
    waits(until)
    assert [site.state(made)["state"] for made in (first, second, third)] == ["running", "queued", "queued"]
    assert [site.state(made)["ahead"] for made in (second, third)] == [1, 2]
    assert "Waiting, 2 ahead" in site.card(third)
    until.touch()
    assert [site.end(made)[0] for made in (first, second, third)] == ["done"] * 3


def test_more_than_the_queue_holds_is_429(site, episode, tmp_path, monkeypatch):
    monkeypatch.setattr(renders_module, "_MAX_ASKED", 1)
    first, second, third = (episode(until=tmp_path / "until") for _ in range(3))
    site.render(first)
    waits(tmp_path / "until")
    assert site.render(second).status_code == 303
    assert site.render(third).status_code == 429
    assert site.state(third) is None


def test_ended_ones_are_forgotten_in_time(site, episode, monkeypatch):
    monkeypatch.setattr(renders_module, "_MAX_REMEMBERED", 2)
    made = [episode() for _ in range(3)]
    for each in made:
        site.rendered(each)
    assert [site.state(each) is None for each in made] == [True, False, False]


# --- cancelled


def test_cancelling_kills_the_process_and_keeps_nothing(site, episode, video, settings, tmp_path):
    until = tmp_path / "until"
    made = episode(until=until, writes=video)
    site.render(made)
    process = waits(until)
    assert site.cancel(made).headers["location"] == f"/portal/episodes/{made}#reproduce"
    assert site.end(made) == ("cancelled", None)
    assert gone(process)
    assert site.kinds(made) == {"actions"}
    assert site.api.episode(made)["reproduction"] is None
    assert left(settings) == []
    assert "Rendering was cancelled." in site.card(made)
    until.touch()
    assert site.rendered(made) == ("done", None)


def test_one_that_waits_is_cancelled_at_once(site, episode, video, tmp_path):
    until = tmp_path / "until"
    first, second = episode(until=until, writes=video), episode(writes=video)
    site.render(first)
    site.render(second)
    waits(until)
    site.cancel(second)
    assert site.state(second)["state"] == "cancelled"
    until.touch()
    assert site.end(first) == ("done", None)
    assert site.kinds(second) == {"actions"}


def test_cancelling_what_nobody_wants_is_harmless(site, episode):
    assert site.cancel(episode()).status_code == 303


def test_stopping_the_deployment_kills_the_process(site, episode, settings, tmp_path):
    made, waiting = episode(until=tmp_path / "until"), episode()
    site.render(made)
    site.render(waiting)
    process = waits(tmp_path / "until")
    site.deployment.stop()
    assert gone(process)
    assert left(settings) == []


def test_what_a_killed_deployment_left_is_deleted(serve, settings):
    serve().deployment.stop()
    (settings.renders_dir / "tmp1").mkdir(parents=True)
    (settings.renders_dir / "tmp1" / "video.mp4").touch()
    serve()
    assert left(settings) == []


# --- refused


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_can_neither_render_nor_cancel(site, episode, tmp_path, headers):
    made = episode(until=tmp_path / "until")
    assert site.render(made, headers).status_code == 403
    assert site.state(made) is None
    site.render(made)
    waits(tmp_path / "until")
    assert site.cancel(made, headers).status_code == 403
    assert site.state(made)["state"] == "running"


def test_an_episode_that_there_is_not_is_404(site):
    assert site.render("nope").status_code == 404


@pytest.mark.parametrize("status", ["recording", "archived"])
def test_an_episode_that_is_not_finalized_is_409(site, serve, settings, status):
    made = site.api.create(metadata={"reproduce": reproduce()})["episode_id"]
    database = Database(settings.database_url)
    with database.write() as session:
        session.get(Episode, made).status = status
    database.close()
    answer = site.render(made)
    assert (answer.status_code, answer.json()["error"]) == (409, f"the episode is {status}")


def test_one_that_may_not_run_is_409_and_its_page_names_the_command(site, episode):
    made = episode(metadata={"reproduce": reproduce("no_such_package_here:Env")})
    answer = site.render(made)
    assert (answer.status_code, answer.json()["error"]) == (409, "no_such_package_here is not installed here")
    card = site.card(made)
    assert "It is not rendered here: no_such_package_here is not installed here." in card
    assert f"robotrace render {made} --upload" in card
    assert f"robotrace reproduce {made}" in card
    assert "Render video" not in card


def test_the_page_says_what_will_run(site, episode):
    import gymnasium

    assert (
        f"It imports gymnasium.envs.classic_control.cartpole:CartPoleEnv (gymnasium {gymnasium.__version__}, recorded "
        "with 0.1) on this machine, in a process of its own."
    ) in site.card(episode(metadata={"reproduce": reproduce(versions={"gymnasium": "0.1"})}))


@pytest.mark.parametrize("folder", ["data", "data/objects", "."])
def test_a_folder_that_holds_uploads_is_none_to_import_from(settings, tmp_path, folder):
    (settings.objects_dir).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="uploaded"):
        Deployment(replace(settings, import_from=(tmp_path / folder,))).start()


def test_a_folder_that_is_not_there_is_none_to_import_from(settings, tmp_path):
    with pytest.raises(ConfigurationError, match="nothing is not a folder"):
        Deployment(replace(settings, import_from=(tmp_path / "nothing",))).start()
    assert not settings.data_dir.exists()


# --- every failed one


def test_failed_episodes_are_rendered_when_they_end(serve, stand_in, video):
    site = serve(render_failed=True)
    ready = make(site, writes=video)
    real = site.api.record(finalize={"status": "failed"})
    failed = make(site, status="failed", writes=video)
    assert site.end(failed) == ("done", None)
    assert site.kinds(failed) == {"actions", "video"}
    assert [site.state(other) for other in (ready, real)] == [None, None]


def test_failed_episodes_from_before_are_rendered_on_start_the_newest_first(site, serve, episode, video, tmp_path):
    until = tmp_path / "until"
    old = episode(status="failed", writes=video)
    checked = episode(status="failed", writes=video)
    site.api.http.post(f"/api/ingest/episode/{checked}/reproduction", json=verdict("diverged"))
    ready = episode(writes=video)
    new = episode(status="failed", until=until, writes=video)
    site.deployment.stop()
    later = serve(render_failed=True)
    waits(until)
    eventually(lambda: later.state(old))
    assert later.state(new)["state"] == "running"
    assert later.state(old)["state"] == "queued"
    until.touch()
    assert [later.end(each) for each in (new, old)] == [("done", None)] * 2
    assert [later.state(each) for each in (checked, ready)] == [None, None]


def test_one_that_somebody_asks_for_comes_before_those_found(serve, stand_in, video, tmp_path):
    site = serve(render_failed=True)
    until = tmp_path / "until"
    first = make(site, status="failed", until=until, writes=video)
    waits(until)
    found, asked = (make(site, status="failed", writes=video) for _ in range(2))
    wanted = make(site, writes=video)
    eventually(lambda: site.state(found) and site.state(asked))
    site.render(wanted)
    site.render(found)
    assert [site.state(each)["ahead"] for each in (wanted, found, asked)] == [1, 2, 3]
    until.touch()
    assert [site.end(each)[0] for each in (first, found, asked, wanted)] == ["done"] * 4


def test_one_that_failed_to_render_is_not_tried_at_each_start(serve, stand_in):
    site = serve(render_failed=True)
    made = make(site, status="failed", dies=True)
    assert site.end(made)[0] == "failed"
    site.deployment.stop()
    later = serve(render_failed=True)
    fresh = make(later, status="failed")
    later.end(fresh)
    assert later.state(made) is None


def test_without_the_setting_failed_episodes_wait_to_be_asked_for(site, episode, video):
    failed, asked = episode(status="failed", writes=video), episode(writes=video)
    assert site.rendered(asked) == ("done", None)
    assert site.state(failed) is None


# --- the real process


def real_episode(site, npz, *, metadata=None, change=None):
    arrays = cartpole_arrays()
    if change is not None:
        change(arrays)
    files = {kind: npz(content) for kind, content in arrays.items()}
    whole = {"reproduce": reproduce(), "video": {"deferred": True}, **(metadata or {})}
    return site.api.record(files, metadata=whole, fps=50.0, source="sim")


def test_a_real_episode_is_rendered_frame_by_frame(serve, npz):
    pytest.importorskip("pygame")
    site = serve()
    made = real_episode(site, npz)
    assert site.rendered(made) == ("done", None)
    stored = site.api.episode(made)
    assert stored["metadata"]["video"]["frames"] == 21
    assert stored["reproduction"]["verdict"] == "reproduced"
    assert stored["reproduction"]["steps"] == 20
    twin = site.web.get(f"/portal/episodes/{made}.json").json()
    assert (twin["video"]["frame_count"], twin["video"]["width"], twin["video"]["height"]) == (21, 600, 400)
    assert twin["video"]["end_ms"] == pytest.approx(420)


def test_a_real_episode_that_diverges_leaves_no_picture(serve, npz):
    pytest.importorskip("pygame")

    def push(arrays):
        arrays["sensors"]["observation/value"][13, 0] += 1e-6

    site = serve()
    made = real_episode(site, npz, change=push)
    state, reason = site.rendered(made)
    assert (state, site.kinds(made)) == ("failed", {"sensors", "actions"})
    assert "step 13, observation" in reason
    assert site.api.episode(made)["reproduction"]["divergence"]["t_s"] == 0.26


def test_an_environment_of_the_operators_own_folder_runs(serve, npz, tmp_path):
    pytest.importorskip("pygame")
    own = tmp_path / "own"
    own.mkdir()
    (own / "operators_envs.py").write_text(
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n\n\nclass Own(CartPoleEnv):\n    pass\n"
    )
    block = reproduce("operators_envs:Own")
    without = serve()
    made = real_episode(without, npz, metadata={"reproduce": block})
    assert without.render(made).status_code == 409
    without.deployment.stop()
    assert serve(import_from=(own,)).rendered(made) == ("done", None)


# --- episodes made to abuse it

CODE = "import pathlib\npathlib.Path({proof!r}).touch()\nimport gymnasium\nclass Env(gymnasium.Env):\n    pass\n"


def abuses(folder, proof):
    """By name: what the episode says."""
    touch = f"touch {proof}"
    source = {"folder": str(folder), "file": str(folder / "sensors"), "sha256": "0" * 64}
    popen = {"args": ["touch", str(proof)]}
    return {
        "a script": {"entry_point": "__main__:Env", "sources": [{"module": "__main__", **source}]},
        "a script beside an env": {
            "entry_point": "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
            "sources": [{"module": "__main__", **source}],
        },
        "a module": {"entry_point": "sensors:Env", "sources": [{"module": "sensors", **source}]},
        "a function": {"entry_point": "os:system", "kwargs": {"command": touch}},
        "a class": {"entry_point": "subprocess:Popen", "kwargs": popen},
        "a class of a package": {"entry_point": "gymnasium.wrappers.rendering:os.system", "kwargs": {"command": touch}},
        "a wrapper": {
            "entry_point": "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
            "wrappers": [{"name": "Popen", "entry_point": "subprocess:Popen", "kwargs": popen}],
        },
        "a program": {"entry_point": "robotrace.__main__:main"},
    }


@pytest.mark.parametrize("name", abuses(Path(), Path()))
def test_nothing_runs_that_an_uploader_brought_along(serve, settings, tmp_path, name):
    """Through the deployment, by itself and on request, and past its checks through the worker alone."""
    proof = tmp_path / "proof"
    site = serve(render_failed=True)
    created = site.api.create(request_uploads=["sensors", "actions"])
    made = created["episode_id"]
    code = CODE.format(proof=str(proof)).encode()
    for kind in ("sensors", "actions"):
        assert site.api.put(created, kind, code).status_code == 200
    own = settings.objects_dir / "episodes" / made
    assert (own / "sensors").read_bytes() == code
    block = abuse(**abuses(own, proof)[name])
    site.api.finalize(made, status="failed", metadata={"reproduce": block, "video": {"deferred": True}})
    answer = site.render(made)
    if answer.status_code == 303:  # it names what is there: the worker is who refuses
        assert site.end(made)[0] == "failed"
    else:
        assert answer.status_code == 409
    job = Job(made, {"reproduce": block}, str(own / "sensors"), str(own / "actions"), trusts_sources=False)
    assert pool.run_job(job, folder=tmp_path).verdict == "not_reproducible"
    readable = cartpole_files(tmp_path)
    assert pool.run_job(replace(job, **readable), folder=tmp_path).verdict == "not_reproducible"
    assert not proof.exists()


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("module", ["__main__", "recorded_envs"])
def test_code_in_a_folder_that_the_recording_names_runs_for_who_recorded_it_alone(tmp_path, module, trusted):
    """On one's own machine it does run: what the test before looks for would be seen."""
    proof, file = tmp_path / "proof", tmp_path / "recorded_envs.py"
    file.write_text(CODE.format(proof=str(proof)))
    source = {"module": module, "folder": str(tmp_path), "file": str(file), "sha256": "0" * 64}
    metadata = {"reproduce": abuse(f"{module}:Env", sources=[source])}
    job = Job("mine", metadata, **cartpole_files(tmp_path), trusts_sources=trusted)
    (tmp_path / "working").mkdir()
    assert pool.run_job(job, folder=tmp_path / "working").verdict == "not_reproducible"
    assert proof.exists() == trusted


def abuse(entry_point, *, sources=(), kwargs=None, wrappers=()):
    block = reproduce(entry_point, sources=list(sources))
    block["env_spec"] |= {"kwargs": kwargs or {}, "additional_wrappers": list(wrappers)}
    return block


def cartpole_files(folder):
    """Of an episode that could be run: what is read before any code is imported."""
    for kind, arrays in cartpole_arrays().items():
        np.savez(folder / f"{kind}.npz", **arrays)
    return {kind: str(folder / f"{kind}.npz") for kind in ("sensors", "actions")}
