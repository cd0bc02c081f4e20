"""What running an episode again came to: stored, shown, and what it does to a slot that was left empty."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest
from rerun_episodes import reproduce, verdict

from robotrace.cli.reruns import EpisodeFinder
from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.files import read_json
from robotrace.deliver.spool import open_spool
from robotrace.reroll.episodes import delivered_id, find_local, store_verdict
from robotrace.reroll.jobs import Verdict
from robotrace.serve.collector import collect_late
from robotrace.serve.models import Episode
from robotrace.serve.services import Services
from robotrace.testing.episodes import seal_one
from robotrace.transport import Transport

DIVERGED = verdict(
    "diverged",
    steps=6,
    differences=[
        {"name": "gymnasium", "recorded": "1.0.0", "here": "1.4.0"},
        {"name": "mujoco", "recorded": "3.1.0", "here": None},
    ],
    divergence={
        "step": 7,
        "t_s": 0.14,
        "stream": "observation.pose",
        "recorded": "[0.5]",
        "here": "[0.25]",
        "distance": 0.25,
    },
    not_compared={"observation.camera": "kept as video only, which is lossy"},
    code=[{"entry_point": "a.b:C", "what": "C-v0", "package": "a", "version": "2.0"}],
)


@pytest.fixture
def web(api):
    """Without a key, as a browser comes."""
    with httpx.Client(base_url=api.http.base_url, trust_env=False) as client:
        yield client


def push(api, episode_id, **body):
    return api.http.post(f"/api/ingest/episode/{episode_id}/reproduction", json=body)


def sign(api, episode_id, **body):
    return api.http.post(f"/api/ingest/episode/{episode_id}/upload-urls", json=body)


def put_video(api, episode_id, content):
    answer = sign(api, episode_id, kinds=["video"])
    assert answer.status_code == 200, answer.text
    return api.put(answer.json(), "video", content)


def reported(content, **more):
    """The report that comes with this video; all but size and preset is wrong."""
    made = {"path": "/home/me/secret/video.mp4", "frames": 9, "width": 7, "height": 7, "preset": "medium"}
    return verdict(video={**made, "size": len(content), **more})


def text_of(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def card_of(page):
    return re.search(r'<section class="card" id="reproduce">(.*?)</section>', page, re.DOTALL).group(1)


# --- verdicts


def test_a_verdict_comes_back_as_it_went_in(api, web):
    episode = api.record()
    assert api.episode(episode)["reproduction"] is None
    assert web.get(f"/portal/episodes/{episode}.json").json()["reproduction"] is None
    sent = {**DIVERGED, "checked_at": "2026-01-02T03:04:05+02:00", "something_new": {"of": "a later version"}}
    answer = push(api, episode, **sent)
    assert (answer.status_code, answer.json()) == (
        200,
        {"episode_id": episode, "verdict": "diverged", "checked_at": "2026-01-02T01:04:05Z"},
    )
    stored = api.episode(episode)["reproduction"]
    found = Verdict.from_dict(stored)
    assert found == Verdict.from_dict({**sent, "checked_at": "2026-01-02T01:04:05Z"})
    assert found.divergence.stream == "observation.pose"
    assert web.get(f"/portal/episodes/{episode}.json").json()["reproduction"] == stored


def test_a_verdict_on_an_episode_that_waits_is_delivered_with_it(api, deployment, tmp_path):
    spool = open_spool(tmp_path / "spool")
    entry = seal_one(spool)
    found = find_local(entry.uuid, spool)
    assert store_verdict(found, Verdict.from_dict(DIVERGED), None) is None
    transport = Transport(Target(deployment.base_url, deployment.internal_key))
    assert deliver(spool, entry, transport).action is None
    transport.close()
    episode = delivered_id(entry.uuid, spool)
    stored = api.episode(episode)
    assert stored["status"] == "ready"
    assert Verdict.from_dict(stored["reproduction"]).divergence == Verdict.from_dict(DIVERGED).divergence
    assert read_json(spool.done / f"{entry.uuid}.json")["verdict"] == "stored"


def test_a_verdict_on_an_episode_that_was_delivered_meanwhile_goes_after_it(api, deployment, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_API_KEY", deployment.internal_key)
    spool = open_spool(tmp_path / "spool")
    entry = seal_one(spool)
    with EpisodeFinder(deployment.base_url, None, spool) as finder:
        found = finder.find(entry.uuid)
        transport = Transport(Target(deployment.base_url, deployment.internal_key))
        assert deliver(spool, entry, transport).action is None
        transport.close()
        assert not entry.folder.exists()
        assert finder.store(found, Verdict.from_dict(DIVERGED)) is None
    stored = api.episode(delivered_id(entry.uuid, spool))["reproduction"]
    assert Verdict.from_dict(stored).divergence == Verdict.from_dict(DIVERGED).divergence


def test_the_latest_verdict_replaces_the_one_before(api):
    episode = api.record()
    push(api, episode, **DIVERGED)
    push(api, episode, **verdict())
    stored = api.episode(episode)["reproduction"]
    assert (stored["verdict"], stored["divergence"]) == ("reproduced", None)
    assert stored["checked_at"].endswith("Z")


def test_the_folder_a_video_was_made_in_is_not_stored(api):
    episode = api.record()
    assert push(api, episode, **reported(b"x")).status_code == 200
    assert api.episode(episode)["reproduction"]["video"]["path"] == "video.mp4"


def test_a_key_is_needed_and_an_episode(api, web):
    body = verdict()
    assert web.post(f"/api/ingest/episode/{api.record()}/reproduction", json=body).status_code == 401
    assert push(api, "nope", **body).status_code == 404


def test_an_archived_episode_takes_none(api, database):
    episode = api.record()
    with database.write() as session:
        session.get(Episode, episode).status = "archived"
    assert push(api, episode, **verdict()).status_code == 409


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"verdict": "perhaps"}, "verdict"),
        ({"steps": -1}, "steps"),
        ({"steps": "12"}, "steps"),
        ({"reason": "x" * 4001}, "reason"),
        ({"not_compared": {"x": 7}}, "not_compared"),
        ({"compared": ["x"] * 1001}, "compared"),
        ({"checked_at": "2026-01-01T00:00:00"}, "checked_at"),
        ({"checked_at": "0001-01-01T00:00:00+14:00"}, "checked_at"),
        ({"differences": [{"name": "numpy"}]}, "differences"),
        ({"divergence": {"step": 1}}, "divergence"),
        ({"video": {"path": "v", "frames": 1, "width": 0, "height": 1, "preset": "m", "size": 1}}, "video.width"),
    ],
)
def test_what_is_no_verdict_is_400_and_names_the_field(api, change, named):
    episode = api.record()
    answer = push(api, episode, **{**verdict(), **change})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(named)
    assert api.episode(episode)["reproduction"] is None


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": "diverged", "reason": "\\ud800"}',
        '{"verdict": "diverged", "not_compared": {"\\ud800": "x"}}',
        '{"verdict": "diverged", "compared": ["\\ud800"]}',
        '{"verdict": "diverged", "divergence": {"step": 1, "t_s": NaN, "stream": "", "recorded": "", "here": ""}}',
    ],
)
def test_what_no_strict_reader_could_read_back_is_400(api, text):
    episode = api.record()
    url = f"/api/ingest/episode/{episode}/reproduction"
    answer = api.http.post(url, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_the_distance_to_a_value_that_is_no_number_is_none(api):
    episode = api.record()
    divergence = '{"step": 1, "t_s": null, "stream": "reward", "recorded": "nan", "here": "1.0", "distance": NaN}'
    answer = api.http.post(
        f"/api/ingest/episode/{episode}/reproduction",
        content=f'{{"verdict": "diverged", "divergence": {divergence}}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200
    assert api.episode(episode)["reproduction"]["divergence"]["distance"] is None


# --- a slot that was left empty


def test_a_slot_that_create_did_not_ask_for_can_be_filled_after_the_end(api, claim):
    episode = api.record({"sensors": b"s"})
    signed = sign(api, episode, kinds=["video", "video"]).json()
    assert [entry["kind"] for entry in signed["upload_urls"]] == ["sensors", "video"]
    assert api.put(signed, "video", b"late").status_code == 200
    assert api.finalize(episode).status_code == 200
    stored = {artifact["kind"]: artifact["sha256"] for artifact in api.episode(episode)["artifacts"]}
    assert stored["video"] == claim("video", b"late")["sha256"]


def test_a_slot_that_is_filled_is_409_before_a_byte_is_sent(api):
    episode = api.record({"sensors": b"s", "video": b"v"})
    answer = sign(api, episode, kinds=["actions", "video"])
    assert answer.status_code == 409
    assert answer.json()["error"] == "the episode is ready and has its video: it cannot be replaced"


def test_a_slot_whose_file_was_lost_is_signed_again(api, lose):
    episode = api.record({"video": b"v"})
    lose(episode, "video")
    assert sign(api, episode, kinds=["video"]).status_code == 200


def test_while_an_episode_is_recording_a_filled_slot_is_signed(api):
    created = api.create(request_uploads=["video"])
    api.put(created, "video", b"first")
    assert sign(api, created["episode_id"], kinds=["video"]).status_code == 200


def test_without_a_body_the_slots_of_create_are_signed_as_before(api):
    episode = api.record({"sensors": b"s"})
    for content in (b"", b"{}"):
        answer = api.http.post(
            f"/api/ingest/episode/{episode}/upload-urls", content=content, headers={"Content-Type": "application/json"}
        )
        assert [entry["kind"] for entry in answer.json()["upload_urls"]] == ["sensors"]


def test_a_slot_that_there_is_not_is_400(api):
    assert sign(api, api.record(), kinds=["lidar"]).status_code == 400


@pytest.mark.parametrize("first", ["video", "verdict"])
def test_a_video_made_later_is_described_once_it_and_its_verdict_are_there(
    api, write_video, settings, database, store, first
):
    """Frames and size in pixels are read from the file, not believed."""
    content = write_video([0, 40, 80]).read_bytes()
    recorded = {"deferred": True, "every_n_steps": 2}
    episode = api.record(finalize={"metadata": {"video": recorded, "reproduce": reproduce()}})
    steps = [lambda: put_video(api, episode, content), lambda: push(api, episode, **reported(content))]
    for step in steps if first == "video" else reversed(steps):
        assert api.episode(episode)["metadata"]["video"] == recorded
        assert step().status_code == 200
    # No call tells of a video in a bucket that comes last.
    collect_late(Services(settings, database, store, cookies=None))
    assert api.episode(episode)["metadata"]["video"] == {
        "deferred": True,
        "every_n_steps": 2,
        "frames": 3,
        "preset": "medium",
        "cameras": [{"name": "render", "track": 0, "width": 32, "height": 32, "frames": 3}],
    }


def test_a_report_without_its_video_changes_no_metadata(api):
    episode = api.record()
    push(api, episode, **reported(b"never sent"))
    assert "video" not in api.episode(episode)["metadata"]


@pytest.mark.parametrize("change", [{"verdict": "diverged"}, {"video": None}])
def test_a_video_that_no_verdict_vouches_for_is_not_described(api, write_video, change):
    content = write_video([0, 40]).read_bytes()
    episode = api.record()
    put_video(api, episode, content)
    push(api, episode, **{**reported(content), **change})
    assert "video" not in api.episode(episode)["metadata"]


def test_a_report_of_another_video_describes_nothing(api, write_video):
    content = write_video([0, 40]).read_bytes()
    episode = api.record()
    put_video(api, episode, content)
    push(api, episode, **reported(content + b"longer"))
    assert "video" not in api.episode(episode)["metadata"]


def test_a_video_that_cannot_be_read_is_not_described(api):
    episode = api.record()
    put_video(api, episode, b"no video")
    assert push(api, episode, **reported(b"no video")).status_code == 200
    assert "video" not in api.episode(episode)["metadata"]


def test_what_the_recorder_said_of_its_own_video_stays(api, write_video):
    content = write_video([0, 40]).read_bytes()
    live = {"frames": 2, "preset": "superfast", "cameras": []}
    episode = api.record({"video": content}, finalize={"metadata": {"video": live}})
    push(api, episode, **reported(content))
    assert api.episode(episode)["metadata"]["video"] == live


# --- the page


def test_the_page_lists_what_differs_before_where_it_diverged(api, web):
    episode = api.record(metadata={"reproduce": reproduce()})
    push(api, episode, **DIVERGED)
    card = card_of(web.get(f"/portal/episodes/{episode}").text)
    text = text_of(card)
    order = ["Diverged at step 7", "gymnasium 1.0.0 1.4.0", "mujoco 3.1.0 missing", "first at step 7", "0.140 s"]
    order += ["observation.pose", "[0.5]", "[0.25]", "0.25", "1 stream was not compared", "observation.camera"]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)
    assert '<a href="?t=140ms">' in card
    assert f"robotrace reproduce {episode}" in text


def test_the_page_says_that_it_was_reproduced(api, web):
    episode = api.record(metadata={"reproduce": reproduce()})
    push(api, episode, **verdict(compared=["observation", "reward"], raised="ValueError: fell"))
    text = text_of(card_of(web.get(f"/portal/episodes/{episode}").text))
    assert "Reproduced to the bit 12 steps: observation, reward." in text
    assert "ValueError: fell" in text
    assert "by robotrace 0.4.0" in text


def test_the_page_of_an_episode_that_nothing_can_repeat_says_why(api, web):
    """And names no command: none of them could do it either."""
    text = text_of(card_of(web.get(f"/portal/episodes/{api.record(source='real')}").text))
    assert text == (
        "Reproduce This episode cannot be made to happen again: it was recorded without what is needed to make it "
        "happen again (metadata.reproduce)."
    )


def test_the_page_of_an_open_episode_waits_for_its_end(api, web):
    episode = api.create(metadata={"reproduce": reproduce()})["episode_id"]
    text = text_of(card_of(web.get(f"/portal/episodes/{episode}").text))
    assert "Once the episode is finalized" in text


def test_markup_in_a_verdict_is_text(api, web):
    evil = "<b id=pwned>x</b>"
    episode = api.record(metadata={"reproduce": reproduce()})
    divergence = {"step": 1, "t_s": None, "stream": evil, "recorded": evil, "here": evil, "distance": None}
    differences = [{"name": evil, "recorded": evil, "here": evil}]
    push(
        api,
        episode,
        **verdict("diverged", reason=evil, divergence=divergence, differences=differences, not_compared={evil: evil}),
    )
    page = web.get(f"/portal/episodes/{episode}").text
    assert "<b id=pwned>" not in page
    assert text_of(card_of(page)).count(evil) == 9


def test_a_video_left_for_later_is_named_where_the_picture_would_be(api, web, npz):
    files = {"sensors": npz({"a/value": [1.0, 2.0]})}
    metadata = {"video": {"deferred": True}, "reproduce": reproduce()}
    later = api.record(files, metadata=metadata)
    never = api.record(files, metadata={"reproduce": reproduce()})
    assert 'id="deferred-note"' in web.get(f"/portal/episodes/{later}").text
    assert 'id="deferred-note"' not in web.get(f"/portal/episodes/{never}").text


def test_a_machine_that_could_not_run_it_does_not_unsay_one_that_could(api):
    episode = api.record()
    assert push(api, episode, **verdict("reproduced", steps=5)).status_code == 200
    answer = push(api, episode, **verdict("not_reproducible", reason="no such module here"))
    assert (answer.status_code, answer.json()["verdict"]) == (200, "reproduced")
    assert api.episode(episode)["reproduction"]["verdict"] == "reproduced"
    # One that ran it and found it random has more to say.
    found = {"step": 3, "t_s": None, "stream": "reward", "recorded": "1", "here": "2"}
    random = verdict("not_reproducible", reason="the environment is not deterministic", divergence=found)
    assert push(api, episode, **random).json()["verdict"] == "not_reproducible"
