"""The compare page and its JSON twin: what differs, where two episodes part, what there is to choose from."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest

from robotrace.serve.comparison_words import scope, told
from robotrace.serve.comparisons import Comparison
from robotrace.serve.divergence import Instant, StreamDifference
from robotrace.serve.portal_format import compare_url
from robotrace.serve.stream_pairs import Shift

MS = 1_000_000
STEPS = 100


@pytest.fixture
def portal(deployment):
    """A browser on this machine: no key."""
    with httpx.Client(base_url=deployment.base_url) as http:
        yield http


@pytest.fixture
def record(api, npz, policy):
    """``record(part_at)``: 50 steps/s; at step ``part_at`` it acts otherwise, and is elsewhere one step later."""

    def make(part_at=None, *, steps=STEPS, extra=None, finalize=None, **body):
        observation = np.sin(np.arange(steps + 1)[:, None] * [0.1, 0.2]).astype(np.float32)
        action = np.arange(steps) % 3
        if part_at is not None:
            action[part_at] += 1
            observation[part_at + 1 :, 1] += np.float32(0.5)
        sensors = {
            "observation/value": observation,
            "observation/_t_ns": np.arange(steps + 1) * 20 * MS,
            **(extra or {}),
        }
        actions = {"action/value": action, "action/_t_ns": np.arange(steps) * 20 * MS}
        files = {"sensors": npz(sensors), "actions": npz(actions)}
        described = {"policy_version": policy, "env_version": "Reach-v1", "git_sha": "c0ffee", "seed": 7, **body}
        return api.record(files, finalize={"duration_s": steps / 50, **(finalize or {})}, **described)

    return make


def twin(portal, **query):
    answer = portal.get("/portal/compare.json", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_where_two_episodes_part(portal, record, decode_series):
    a, b = record(), record(37)
    found = twin(portal, a=a, b=b)
    assert found["compared"]["sentence"] == (
        "Identical to the bit until step 37 (0.740 s): there action is 1 in A and 2 in B, 1 apart."
    )
    assert found["compared"]["scope"] == "2 streams by step, 101 rows."
    first = found["compared"]["first"]
    assert (first["stream"], first["row_a"], first["t_ms"], first["distance"]) == ("action", 37, 740, 1)
    assert found["compared"]["beyond"] == first
    # The ones that differ in the order in which they come to it.
    action, observation = found["compared"]["streams"]
    assert (action["name"], action["different_rows"]) == ("action", 1)
    assert (observation["name"], observation["first"]["row_a"], observation["first"]["column"]) == (
        "observation",
        38,
        "1",
    )
    assert observation["largest"]["distance"] == pytest.approx(0.5, abs=1e-6)
    assert (found["a"]["begins_ms"], found["b"]["begins_ms"], found["align"]) == (0, 0, "start")
    apart = decode_series(portal.get(found["compared"]["difference_url"]).content)
    assert apart.times("action.|A − B|")[np.flatnonzero(apart.values("action.|A − B|")[0])].tolist() == [740]
    assert np.flatnonzero(apart.values("observation.|A − B|")[0]).tolist() == list(range(38, 101))


def test_the_page_says_it_without_a_script(portal, record, policy):
    a, b = record(), record(37, name="<b>bold</b>", policy_version="other", finalize={"status": "failed"})
    page = portal.get(compare_url(a, b)).text
    assert "Identical to the bit until step 37" in page
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert 'data-time-ms="740.0"' in page
    recipe = page[page.index('data-group="recipe"') : page.index('data-group="outcome"')]
    assert policy in recipe
    assert "other" in recipe
    assert "git sha" not in recipe
    swapped = re.search(r'id="swap" href="([^"]*)"', page)[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(swapped).query) == {"a": [b], "b": [a], "align": ["start"]}


def test_only_what_differs_is_listed_the_recipe_first(portal, record):
    common = {"adapter": "gymnasium", "versions": {"numpy": "2.0"}, "task": "reach", "host": {"pid": 1}}
    a = record(metadata={**common, "run_id": "x"})
    b = record(
        git_sha="deadbeef",
        seed=8,
        metadata={**common, "run_id": "y", "versions": {"numpy": "2.1"}, "host": {"pid": 2}, "gains": {"kp": [1, 2]}},
        finalize={"status": "failed", "metadata": {"outcome": {"success": False, "steps": 3}}},
    )
    listed = [(fact["group"], fact["name"], fact["a"], fact["b"]) for fact in twin(portal, a=a, b=b)["what_differs"]]
    assert listed == [
        ("recipe", "git_sha", "c0ffee", "deadbeef"),
        ("recipe", "seed", "7", "8"),
        ("setup", "versions.numpy", "2.0", "2.1"),
        ("outcome", "status", "ready", "failed"),
        ("outcome", "outcome", None, "failure"),
        ("outcome", "steps", None, "3"),
        ("other", "gains.kp", None, "[1, 2]"),
    ]
    page = portal.get(compare_url(a, b)).text
    assert page.index("git sha") < page.index("versions.numpy") < page.index("gains.kp")


def test_what_lies_over_each_other_is_chosen(portal, record):
    long = record(finalize={"status": "failed", "failure_time_s": 1.5})
    short = record(steps=60, finalize={"status": "failed", "failure_time_s": 1.0})
    begins = {
        align: (found["a"]["begins_ms"], found["b"]["begins_ms"], found["align"])
        for align in ("start", "end", "failure", "120", "-33.5ms", "offset", "sideways")
        if (found := twin(portal, a=long, b=short, align=align))
    }
    assert begins == {
        "start": (0, 0, "start"),
        "end": (0, 800, "end"),
        "failure": (0, 500, "failure"),
        "120": (0, 120, "120"),
        "-33.5ms": (33.5, 0, "-33.5"),
        "offset": (0, 0, "0"),
        "sideways": (0, 0, "start"),
    }
    assert twin(portal, a=long, b=short, align="offset", offset="250")["align"] == "250"
    assert "sideways" in twin(portal, a=long, b=short, align="sideways")["notices"][0]
    by_time = twin(portal, a=long, b=short, align="end")["compared"]
    assert {stream["by"] for stream in by_time["streams"]} == {"time"}
    assert by_time["first"]["t_ms"] == 800
    assert by_time["sentence"].startswith("Different from the first moment on: observation[0] is")


def test_without_a_failure_time_the_starts_are_taken_and_that_is_said(portal, record):
    a, b = record(finalize={"status": "failed", "failure_time_s": 1.0}), record(2)
    found = twin(portal, a=a, b=b, align="failure")
    assert (found["a"]["begins_ms"], found["b"]["begins_ms"]) == (0, 0)
    assert found["notices"] == ["B has no failure time: they are laid over each other at their starts."]


def test_the_tolerance_says_from_where_on_it_matters(portal, record):
    a, b = record(), record(37)
    found = twin(portal, a=a, b=b, tolerance="0.4")
    assert found["compared"]["beyond"]["stream"] == "action"
    found = twin(portal, a=a, b=b, tolerance="1")
    assert found["compared"]["beyond"] is None
    assert found["compared"]["sentence"].startswith("Never more than 1 apart. Identical to the bit until step 37")
    for wrong in ("-1", "nan", "1e999", "lots"):
        found = twin(portal, a=a, b=b, tolerance=wrong)
        assert (found["tolerance"], len(found["notices"])) == (0, 1)


def test_the_same_episode_twice_is_said_to_be_that(portal, record):
    a = record()
    found = twin(portal, a=a, b=a)
    assert found["same_episode"] is True
    assert found["compared"]["sentence"] == "Identical to the bit in all 2 common streams."
    assert found["what_differs"] == []
    page = portal.get(compare_url(a, a)).text
    assert "the same episode" in page
    assert 'id="swap"' not in page


def test_one_that_is_still_recording_or_has_no_files_is_compared_as_far_as_it_goes(portal, record, api):
    a, recording = record(), api.create(env_version="Reach-v1")["episode_id"]
    found = twin(portal, a=a, b=recording)
    assert found["compared"]["sentence"] == "They have no stream in common that can be compared."
    assert {(item["name"], item["side"]) for item in found["compared"]["left_out"]} == {
        ("observation", "a"),
        ("action", "a"),
    }
    page = portal.get(compare_url(a, recording))
    assert page.status_code == 200
    assert "Still recording" in page.text


def test_a_file_that_is_lost_or_broken_is_said_and_the_rest_is_compared(portal, record, api, npz, lose):
    a, b = record(), record(37)
    lose(b, "sensors")
    found = twin(portal, a=a, b=b)["compared"]
    assert [stream["name"] for stream in found["streams"]] == ["action"]
    assert any(item["side"] == "b" and "cannot be read" in item["reason"] for item in found["left_out"])
    broken = api.record({"sensors": npz({"x/value": np.ones(9), "x/_t_ns": np.arange(9)})[:-40]})
    assert "cannot be read" in twin(portal, a=a, b=broken)["compared"]["left_out"][0]["reason"]


def test_with_one_given_the_same_seed_is_offered_first(portal, record, policy):
    chosen = record(seed=4242)
    same = record(seed=4242, policy_version="other")
    near = record(seed=4243)
    found = twin(portal, a=chosen)
    assert found["compared"] is None
    groups = {group["title"]: [episode["id"] for episode in group["episodes"]] for group in found["candidates"]}
    assert groups["Same env and seed"] == [same]
    assert groups["Same env and policy"] == [near]
    assert chosen not in [one for group in groups.values() for one in group]
    page = portal.get(compare_url(chosen)).text
    assert compare_url(chosen, same).replace("&", "&amp;") in page
    assert compare_url(same, chosen).replace("&", "&amp;") in portal.get(f"/portal/compare?b={chosen}").text


def test_without_any_the_newest_are_offered(portal, record):
    newest = record()
    page = portal.get("/portal/compare").text
    assert f'href="{compare_url(newest)}"' in page
    assert "Two episodes on one clock" in page


def test_a_search_finds_names_and_beginnings_of_ids(portal, record):
    chosen, named = record(), record(name="the odd one 100%")
    for text in ("odd one 100%", named, named[:9].upper()):
        (found, *_) = twin(portal, a=chosen, q=text)["candidates"]
        assert (found["title"], [episode["id"] for episode in found["episodes"]]) == ("Found", [named])
    (found, *_) = twin(portal, a=chosen, q="no such\0thing")["candidates"]
    assert found == {"title": "Found", "episodes": []}
    assert "No episode has that name" in portal.get("/portal/compare", params={"a": chosen, "q": "zzzz"}).text


@pytest.mark.parametrize("sides", [("a",), ("b",), ("a", "b")])
def test_an_episode_that_is_not_there_is_404(portal, record, sides):
    query = {"a": record(), "b": record(), **dict.fromkeys(sides, "nope")}
    assert portal.get("/portal/compare.json", params=query).status_code == 404
    assert portal.get("/portal/compare/series.bin", params=query).status_code == 404
    page = portal.get("/portal/compare", params=query)
    assert page.status_code == 404
    assert "No such episode" in page.text


def test_differences_are_taken_before_they_are_thinned_out(portal, api, npz, decode_series):
    """A spike of one row in 200,000, where thinned-out curves would have other rows in A and in B."""
    rows = 200_000
    walk = np.cumsum(np.random.default_rng(1).normal(size=rows)).astype(np.float32)
    ids = []
    for spike in (0, 1000):
        values = walk.copy()
        values[123_456] += spike
        ids.append(api.record({"sensors": npz({"x/value": values, "x/_t_ns": np.arange(rows) * MS})}))
    url = twin(portal, a=ids[0], b=ids[1])["compared"]["difference_url"]
    answer = decode_series(portal.get(url).content)
    values = answer.values("x.|A − B|")[0]
    assert answer.streams["x.|A − B|"]["decimated"] is True
    assert answer.times("x.|A − B|")[np.flatnonzero(values)].tolist() == [123_456]
    close = {"start_ms": 123_400, "end_ms": 123_500, "streams": "x.|A − B|"}
    answer = decode_series(portal.get(url, params={**parse(url), **close}).content)
    assert answer.streams["x.|A − B|"]["rows"] == 103
    assert decode_series(portal.get(url, params={**parse(url), "streams": "y"}).content).streams == {}


def parse(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_what_does_not_fit_into_the_first_answer_is_described_and_comes_by_its_name(portal, api, npz, decode_series):
    rows, streams = 20_000, 20
    clock = np.arange(rows) * MS
    ids = [
        api.record(
            {
                "sensors": npz(
                    {f"s{n}/value": np.full(rows, n * side) for n in range(1, streams)}
                    | {f"s{n}/_t_ns": clock for n in range(1, streams)}
                )
            }
        )
        for side in (1, 2)
    ]
    url = twin(portal, a=ids[0], b=ids[1])["compared"]["difference_url"]
    whole = portal.get(url)
    assert len(whole.content) < 5 * 1024**2
    left = decode_series(whole.content).streams["s19.|A − B|"]
    assert (left["left"], left["rows"], left["end_ms"]) == (True, 0, rows - 1)
    asked = decode_series(portal.get(url, params={**parse(url), "streams": "s19.|A − B|"}).content)
    assert set(asked.values("s19.|A − B|")[0]) == {19}


def test_the_address_of_a_comparison():
    assert compare_url("x", "y", 1.25) == "/portal/compare?a=x&b=y&t=1250ms"
    assert compare_url("x") == "/portal/compare?a=x"
    assert compare_url("", "y") == "/portal/compare?b=y"
    assert compare_url("a/b&c", "y", align="end") == "/portal/compare?a=a%2Fb%26c&b=y&align=end"
    assert compare_url("x", "y", 0.0) == "/portal/compare?a=x&b=y&t=0ms"


def stream(name="observation", *, first=None, rows=(500, 500), by="step", dtypes=("float32", "float32")):
    return StreamDifference(
        name=name, artifact="sensors", by=by, columns=1, dtypes=dtypes, rows=rows, compared=min(rows), begins_ms=0.0,
        different_rows=0, unlike=0, first=first, beyond=first, largest=first, rms=0.0,
    )  # fmt: skip


def instant(row=37, t_ms=740.0, **changes):
    values = {"stream": "observation", "column": "2", "row_a": row, "row_b": row, "t_ms": t_ms, "a": "0.5", "b": "0.75"}
    return Instant(**{**values, "distance": 0.25, **changes})


def result(*streams, beyond=None):
    first = next((each.first for each in streams if each.first), None)
    return Comparison(Shift(), list(streams), [], first, beyond)


@pytest.mark.parametrize(
    ("comparison", "tolerance", "sentence"),
    [
        (result(), 0, "They have no stream in common that can be compared."),
        (result(stream()), 0, "Identical to the bit in the one stream they have in common."),
        (
            result(stream(dtypes=("float32", "float64")), stream("x")),
            0,
            "Equal in value in all 2 common streams.",
        ),
        (
            result(stream(first=instant(0, 0.0)), stream("x")),
            0,
            "Different from the first step on: observation[2] is 0.5 in A and 0.75 in B, 0.25 apart.",
        ),
        (
            result(stream(first=instant(), by="time")),
            0,
            "Identical to the bit until 0.740 s: there observation[2] is 0.5 in A and 0.75 in B, 0.25 apart.",
        ),
        (
            Comparison(
                Shift(), [stream("info.render_s", first=instant(2, 40.0)), stream(first=instant())], [], instant(), None
            ),
            0,
            "Apart from info.render_s identical to the bit until step 37 (0.740 s): "
            "there observation[2] is 0.5 in A and 0.75 in B, 0.25 apart.",
        ),
        (
            result(stream(first=instant(b="nan", distance=None))),
            0,
            "Identical to the bit until step 37 (0.740 s): there observation[2] is 0.5 in A and nan in B.",
        ),
        (
            result(stream(first=instant()), beyond=instant(80, 1600.0)),
            0.1,
            "Within 0.1 until step 80 (1.600 s): there observation[2] is 0.5 in A and 0.75 in B, 0.25 apart. "
            "Identical to the bit until step 37 (0.740 s): there observation[2] is 0.5 in A and 0.75 in B, 0.25 apart.",
        ),
    ],
)
def test_it_is_said_in_a_sentence(comparison, tolerance, sentence):
    assert told(comparison, tolerance) == sentence


def test_how_much_was_compared_is_said():
    assert scope(result()) == ""
    assert scope(result(stream(rows=(500, 39)))) == "1 stream by step, 39 rows; A goes on for 461 more."
    assert scope(result(stream(by="time"), stream("x", by="time"))) == "2 streams by time, 500 rows."
