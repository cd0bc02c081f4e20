"""A deployment explains what failed: at finalize, on request, anew when something changed; and takes labels."""

from __future__ import annotations

import re
from html import unescape

import httpx
import numpy as np
import pytest
from polling import eventually
from rerun_episodes import verdict

from robotrace.explain import ANALYZER_VERSION
from robotrace.serve import analyses
from robotrace.serve.models import Episode, EpisodeAnalysis, FindingLabel

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
EVIL = '"><script>alert(1)</script>'


@pytest.fixture
def web(api):
    """Without a key, as a browser comes."""
    with httpx.Client(base_url=api.http.base_url, trust_env=False, headers=SAME_ORIGIN) as client:
        yield client


@pytest.fixture
def frozen(npz):
    """The files of an episode whose observation froze at 1.2 s."""
    t_ns = np.arange(100) * 20_000_000
    seen = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    seen[60:] = seen[60]
    actions = np.cumsum(np.random.default_rng(1).normal(size=(100, 1)), axis=0)
    return {
        "sensors": npz({"observation/value": seen, "observation/_t_ns": t_ns}),
        "actions": npz({"action/value": actions, "action/_t_ns": t_ns}),
    }


FAILED = {"status": "failed", "duration_s": 2.0, "failure_time_s": 1.98}


def findings(api, episode_id):
    return api.episode(episode_id)["findings"]


def codes(api, episode_id):
    found = findings(api, episode_id)
    return None if found is None else [item["code"] for item in found]


def explain(api, episode_id):
    answer = api.http.post(f"/api/episodes/{episode_id}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_failed_episode_is_explained_after_its_finalize(api, frozen):
    episode_id = api.record(frozen, finalize=FAILED)
    eventually(lambda: codes(api, episode_id) == ["frozen_sensor"])
    (item,) = findings(api, episode_id)
    assert item["onset_s"] == 1.2
    assert item["streams"] == ["observation"]
    assert (item["confidence"], item["likelihood"], item["feedback"]) == (0.9, "certain", None)
    assert item["evidence"]["frozen"][0]["rows"] == 40


def test_an_episode_that_is_ready_is_explained_on_request_only(api, database, frozen):
    episode_id = api.record(frozen)
    assert findings(api, episode_id) is None
    with database.read() as session:
        assert session.get(EpisodeAnalysis, episode_id) is None
    told = explain(api, episode_id)
    assert [item["code"] for item in told["findings"]] == ["frozen_sensor"]
    assert told["analyzer_version"] == ANALYZER_VERSION
    assert {"what": "environment_changed", "reason": "nobody has run the episode again"} in told["skipped"]
    assert codes(api, episode_id) == ["frozen_sensor"]


def test_an_episode_of_metadata_alone_is_explained_by_them(api):
    metadata = {"outcome": {"success": False}, "failure_reason": "ValueError: no torque"}
    episode_id = api.record(finalize={**FAILED, "metadata": metadata})
    eventually(lambda: codes(api, episode_id) == ["exception", "explicit_outcome"])


def test_files_that_cannot_be_read_are_said_and_fail_nothing(api):
    episode_id = api.record({"sensors": b"PK\x03\x04rubbish", "actions": b"rubbish"}, finalize=FAILED)
    told = explain(api, episode_id)
    assert [item["code"] for item in told["findings"]] == ["unexplained"]
    assert {"sensors", "actions"} <= {item["what"] for item in told["skipped"]}


def test_files_that_are_gone_are_said(api, objects_dir, frozen):
    episode_id = api.record(frozen, finalize=FAILED)
    eventually(lambda: codes(api, episode_id) == ["frozen_sensor"])
    for file in (objects_dir / "episodes" / episode_id).iterdir():
        file.unlink()
    told = explain(api, episode_id)
    assert {"what": "sensors", "reason": "the file cannot be read: there is no such object"} in told["skipped"]


def test_a_crash_fails_no_finalize_and_the_page_is_shown(api, web, monkeypatch, caplog):
    def crash(*_):
        raise RuntimeError("oh")

    monkeypatch.setattr(analyses, "analyze", crash)
    episode_id = api.record(finalize=FAILED)
    eventually(lambda: f"explaining episode {episode_id} failed" in caplog.text)
    assert findings(api, episode_id) is None
    page = web.get(f"/portal/episodes/{episode_id}")
    assert page.status_code == 200
    assert "The streams are being looked at" in page.text


def test_what_other_rules_said_is_found_anew_when_somebody_looks(api, database, frozen):
    episode_id = api.record(frozen)
    explain(api, episode_id)  # and not by itself: nothing is under way that would do it once more
    with database.write() as session:
        stored = session.get(EpisodeAnalysis, episode_id)
        stored.analyzer_version, stored.findings = "0", []
    assert findings(api, episode_id) == []  # the look that has it done
    eventually(lambda: codes(api, episode_id) == ["frozen_sensor"])


def test_what_another_version_kept_in_other_fields_breaks_no_page(api, web, database, frozen):
    episode_id = api.record(frozen)
    explain(api, episode_id)
    with database.write() as session:
        stored = session.get(EpisodeAnalysis, episode_id)
        stored.analyzer_version, stored.findings = "0", [{"code": "frozen_sensor", "cause": "cable"}, 7]
    assert web.get(f"/portal/episodes/{episode_id}").status_code == 200
    eventually(lambda: codes(api, episode_id) == ["frozen_sensor"])


def test_a_verdict_that_comes_later_is_taken_into_account(api, web):
    episode_id = api.record(finalize=FAILED)
    eventually(lambda: codes(api, episode_id) == ["unexplained"])
    report = verdict(
        "diverged",
        differences=[{"name": "mujoco", "recorded": "3.1", "here": "3.2"}],
        divergence={"step": 7, "t_s": 0.14, "stream": "observation", "recorded": "1", "here": "2"},
    )
    assert api.http.post(f"/api/ingest/episode/{episode_id}/reproduction", json=report).status_code == 200
    eventually(lambda: codes(api, episode_id) == ["environment_changed", "unexplained"])
    again = web.get(f"/portal/episodes/{episode_id}/findings.json").json()
    assert (again["pending"], len(again["analysis"]["findings"])) == (False, 2)


def test_it_is_upserted_and_goes_with_its_episode(api, database, web):
    episode_id = api.record(finalize=FAILED)
    for _ in range(3):
        explain(api, episode_id)
    feedback(web, episode_id, "unexplained", "right")
    with database.write() as session:
        assert session.query(EpisodeAnalysis).filter_by(episode_id=episode_id).count() == 1
        session.delete(session.get(Episode, episode_id))
    with database.read() as session:
        assert session.query(EpisodeAnalysis).filter_by(episode_id=episode_id).count() == 0
        assert session.query(FindingLabel).filter_by(episode_id=episode_id).count() == 0


def test_what_cannot_be_explained_is_refused(api):
    assert api.http.post("/api/episodes/nope/explain").status_code == 404
    recording = api.create()["episode_id"]
    answer = api.http.post(f"/api/episodes/{recording}/explain")
    assert (answer.status_code, answer.json()["error"]) == (409, "the episode is still being recorded")
    assert httpx.post(f"{api.http.base_url}/api/episodes/{recording}/explain").status_code == 401


def test_somebody_who_waits_too_long_for_others_is_told(api, monkeypatch):
    episode_id = api.record()
    monkeypatch.setattr("robotrace.serve.explanations._PATIENCE_S", 0.01)
    with analyses._ONE_AT_A_TIME:
        assert api.http.post(f"/api/episodes/{episode_id}/explain").status_code == 503
    explain(api, episode_id)


def feedback(web, episode_id, code, label, **options):
    return web.post(f"/portal/episodes/{episode_id}/findings/{code}/feedback", data={"label": label}, **options)


def test_what_somebody_says_of_a_finding_is_kept(api, web):
    episode_id = api.record(finalize=FAILED)
    explain(api, episode_id)
    for label in ("wrong", "right", ""):
        answer = feedback(web, episode_id, "unexplained", label)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/portal/episodes/{episode_id}#findings")
        assert findings(api, episode_id)[0]["feedback"] == (label or None)
    feedback(web, episode_id, "unexplained", "wrong")
    assert explain(api, episode_id)["findings"][0]["feedback"] == "wrong"  # stays when the rules are asked anew
    assert 'data-feedback="wrong"' in web.get(f"/portal/episodes/{episode_id}").text


def test_labels_are_taken_from_our_own_page_only(api, web):
    episode_id = api.record(finalize=FAILED)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert feedback(web, episode_id, "unexplained", "wrong", headers=foreign).status_code == 403
    assert web.post(f"/portal/episodes/{episode_id}/explain", headers=foreign).status_code == 403
    assert feedback(web, episode_id, "no_such_code", "wrong").status_code == 404
    assert feedback(web, "nope", "unexplained", "wrong").status_code == 404
    assert feedback(web, episode_id, "unexplained", "perhaps").status_code == 400


def card(page):
    return re.search(r'<section class="card findings".*?</section>', page, re.DOTALL)


def test_the_page_ranks_the_findings_with_time_streams_and_next_step(api, web, frozen):
    finalize = {**FAILED, "metadata": {"failure_reason": EVIL}}
    episode_id = api.record(frozen, finalize=finalize)
    explain(api, episode_id)
    page = web.get(f"/portal/episodes/{episode_id}").text
    shown = card(page)
    assert shown is not None
    assert re.findall(r'data-code="(\w+)"', shown[0]) == ["frozen_sensor", "failure_reason_in_metadata"]
    assert 'href="?t=1200ms"' in shown[0]
    assert 'data-onset-ms="1200"' in shown[0]
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", shown[0])).split())
    assert "Why it failed observation froze 1.200 s certain 0.90" in text
    assert "Check the sensor's cable" in text
    assert f"Reason given: {EVIL}" in text
    assert "<script>" not in shown[0]
    assert 'href="#findings"' in page


def test_the_page_of_an_episode_that_is_fine_has_no_card(api, web):
    episode_id = api.record()
    assert card(web.get(f"/portal/episodes/{episode_id}").text) is None
    recording = api.create()["episode_id"]
    assert card(web.get(f"/portal/episodes/{recording}").text) is None
    explain(api, episode_id)
    assert "No rule found anything unusual" in card(web.get(f"/portal/episodes/{episode_id}").text)[0]


def test_the_json_twin_has_the_same(api, web, frozen):
    episode_id = api.record(frozen)  # one that is not explained by itself, at another moment
    told = explain(api, episode_id)
    twin = web.get(f"/portal/episodes/{episode_id}.json").json()
    assert twin["analysis"] == told
    assert twin["analysis_pending"] is False


def test_a_burst_of_failures_is_explained_without_being_waited_for(api, frozen):
    episode_ids = [api.record(frozen, finalize=FAILED) for _ in range(12)]
    eventually(lambda: all(codes(api, episode_id) == ["frozen_sensor"] for episode_id in episode_ids))
