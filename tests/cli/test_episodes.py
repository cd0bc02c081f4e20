"""``robotrace episodes``: list, show, download."""

import hashlib
import json

import pytest
from command_line import one_line, robotrace
from wire_server import API_KEY, EPISODE_ID, Answer

EPISODES = "/api/episodes"
EPISODE = f"{EPISODES}/{EPISODE_ID}"
ARTIFACT = f"{EPISODE}/artifact"
CONTENT = {"video": b"frames" * 1000, "sensors": b"arrays" * 10, "actions": b"a"}
ROW = {
    "episode_id": EPISODE_ID,
    "created_at": "2026-01-02T03:04:05Z",
    "status": "failed",
    "policy_version": "ppo-é-v3",
    "env_version": None,
    "seed": 7,
    "success": False,
    "reward_total": -1.5,
    "steps": 120,
    "duration_s": 9.98,
}
DETAIL = {
    **ROW,
    "name": "pick\x1b[31m 7",
    "source": "real",
    "robot": "arm-2",
    "git_sha": "abc",
    "fps": 50.0,
    "failure_time_s": 3.2,
    "metadata": {"outcome": {"success": False, "reward_total": -1.5}, "failure_reason": "ValueError: no", "n": [1]},
    "artifacts": [
        {
            "kind": kind,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "content_type": "video/mp4",
            "file_name": name,
        }
        for (kind, content), name in zip(CONTENT.items(), ("video.mp4", "../sensors.h5", "actions"), strict=True)
    ],
}


@pytest.fixture
def filled(server):
    """A deployment with one episode and its three files."""
    server.on("GET", EPISODE, Answer(200, DETAIL))
    for kind, content in CONTENT.items():
        server.on("GET", f"{ARTIFACT}/{kind}", Answer(302, b"", {"Location": f"{server.url}/store/{kind}?signature=s"}))
        server.on("GET", f"/store/{kind}", Answer(200, content))
    return server


def paged(*pages):
    """Answers with one page after another, as far as the limit goes."""

    def answer(request):
        number = int(request.target.partition("cursor=")[2].partition("&")[0] or 0)
        following = str(number + 1) if number + 1 < len(pages) else None
        return Answer(200, {"episodes": pages[number], "next": following})

    return answer


# --- list


def test_a_list_is_a_table_that_says_what_is_not_known(at, server):
    server.on("GET", EPISODES, paged([ROW, {"episode_id": "ep_2", "seed": 2**62}]))
    result = at("episodes", "list", TZ="UTC")
    assert result.returncode == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["ID", "RECORDED", "STATUS", "POLICY", "ENV", "SEED", "SUCCESS", "REWARD", "STEPS", "DURATION"],
        ["ep_1", "2026-01-02", "03:04", "failed", "ppo-é-v3", "-", "7", "no", "-1.5", "120", "9.98", "s"],
        ["ep_2", "-", "-", "-", "-", str(2**62), "-", "-", "-", "-"],
    ]
    assert result.stderr == ""


def test_a_list_as_json_is_one_document_with_what_the_deployment_said(at, server):
    server.on("GET", EPISODES, paged([ROW]))
    result = at("episodes", "list", "--json")
    assert json.loads(result.stdout) == {"episodes": [ROW], "next": None}


def test_a_list_sends_its_filters(at, server):
    server.on("GET", EPISODES, paged([]))
    filters = {
        "status": "failed",
        "policy-version": "p",
        "env-version": "e",
        "git-sha": "a",
        "robot": "r",
        "source": "sim",
    }
    arguments = [text for name, value in filters.items() for text in (f"--{name}", value)]
    result = at("episodes", "list", *arguments, "--seed", "-7", "--limit", "3")
    assert result.stdout == "no episodes that match\n"
    (request,) = server.requests
    query = "limit=3&status=failed&policy_version=p&env_version=e&git_sha=a&seed=-7&robot=r&source=sim"
    assert request.target == f"{EPISODES}?{query}"
    assert at("episodes", "list").stdout == "no episodes\n"


def test_a_list_goes_from_page_to_page_as_far_as_it_was_asked_to(at, server):
    pages = [[{"episode_id": f"ep_{page}_{number}"} for number in range(200)] for page in range(3)]
    server.on("GET", EPISODES, paged(*pages))
    everything = json.loads(at("episodes", "list", "--all", "--json").stdout)
    assert [row["episode_id"] for row in everything["episodes"]] == [
        row["episode_id"] for page in pages for row in page
    ]
    assert everything["next"] is None
    server.requests.clear()
    result = at("episodes", "list", "--limit", "250")
    assert [request.target.partition("?")[2] for request in server.requests] == ["limit=200", "limit=50&cursor=1"]
    assert "there are more" in result.stderr


def test_a_deployment_of_another_make_lists_no_episodes_and_the_line_says_so(at, server):
    line = one_line(at("episodes", "list"))
    assert line == f"robotrace: {server.url}: this deployment does not list episodes"


@pytest.mark.parametrize("body", [{"data": []}, {"episodes": {"ep_1": {}}}, {"episodes": ["ep_1"]}])
def test_a_list_of_another_make_is_one_clear_line(at, server, body):
    server.on("GET", "/api/episodes", Answer(200, body))
    assert one_line(at("episodes", "list")).endswith("this deployment's list of episodes is none that can be read")


@pytest.mark.parametrize("artifacts", [None, {"video": 1}, ["video"], [{"kind": "video"}]])
def test_show_takes_artifacts_of_another_make(at, server, artifacts):
    server.on("GET", f"/api/episodes/{EPISODE_ID}", Answer(200, {"artifacts": artifacts}))
    result = at("episodes", "show", EPISODE_ID)
    assert (result.returncode, result.stderr) == (0, "")
    assert "None" not in result.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_letters_that_the_terminal_does_not_have_end_no_listing(at, server, encoding):
    server.on("GET", EPISODES, paged([{**ROW, "policy_version": "策略-v3"}, {"episode_id": "ep_2"}]))
    result = at("episodes", "list", PYTHONIOENCODING=encoding, LC_ALL="C")
    assert result.returncode == 0, result.stderr
    assert "-v3" in result.stdout
    assert "ep_2" in result.stdout
    document = json.loads(at("episodes", "list", "--json", PYTHONIOENCODING=encoding).stdout)
    assert document["episodes"][0]["policy_version"] == "策略-v3"


# --- show


def test_show_prints_what_is_known_and_obeys_no_escape_sequence(at, filled):
    result = at("episodes", "show", f"{filled.url}/portal/episodes/{EPISODE_ID}?t=640ms", TZ="UTC")
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    facts = dict(line.split(None, 1) for line in result.stdout.partition("metadata\n")[0].splitlines())
    assert facts["id"] == EPISODE_ID
    assert facts["page"] == f"{filled.url}/portal/episodes/{EPISODE_ID}"
    assert (facts["name"], facts["status"], facts["env_version"]) == ("pick?[31m 7", "failed", "-")
    assert (facts["success"], facts["reward"], facts["collisions"]) == ("no", "-1.5", "-")
    assert facts["failure"] == "ValueError: no"
    assert facts["video"].startswith("video.mp4, 6.0 kB, SHA-256 ")
    assert json.loads(result.stdout.partition("metadata\n")[2]) == DETAIL["metadata"]


def test_show_as_json_is_the_episode_and_its_page(at, filled):
    shown = json.loads(at("episodes", "show", EPISODE_ID, "--json").stdout)
    assert shown == {**DETAIL, "url": f"{filled.url}/portal/episodes/{EPISODE_ID}"}


def test_an_episode_that_is_not_there_is_one_clear_line(at, server):
    for command in ("show", "download"):
        line = one_line(at("episodes", command, "ep_9"))
        assert line == f"robotrace: {server.url} has no episode ep_9"


# --- download


def test_download_brings_every_file_and_what_is_known(at, filled, tmp_path):
    result = at("episodes", "download", EPISODE_ID, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / EPISODE_ID
    # Of the name that the deployment tells only the extension counts.
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".json"} == {
        "video.mp4": CONTENT["video"],
        "sensors.h5": CONTENT["sensors"],
        "actions.npz": CONTENT["actions"],
    }
    assert json.loads((folder / "metadata.json").read_text()) == DETAIL
    assert result.stdout.splitlines()[0] == f"{EPISODE_ID}/video.mp4  6.0 kB"


def test_download_of_one_kind_brings_that_file_alone(at, filled, tmp_path):
    arguments = ("episodes", "download", EPISODE_ID, "--kind", "actions", "--output", str(tmp_path / "a" / "b"))
    result = at(*arguments, "--json")
    path = tmp_path / "a" / "b" / "actions.npz"
    assert json.loads(result.stdout) == {"episode_id": EPISODE_ID, "files": {"actions": {"path": str(path), "size": 1}}}
    assert [file.name for file in path.parent.iterdir()] == ["actions.npz"]


def test_files_that_are_there_stay_unless_forced_and_nothing_is_downloaded_before(at, filled, tmp_path):
    folder = tmp_path / EPISODE_ID
    folder.mkdir()
    (folder / "actions.npz").write_bytes(b"mine")
    line = one_line(at("episodes", "download", EPISODE_ID, cwd=tmp_path))
    assert f"{EPISODE_ID}/actions.npz" in line
    assert "--force" in line
    assert [file.name for file in folder.iterdir()] == ["actions.npz"]
    assert [request.path for request in filled.requests] == [EPISODE]
    assert at("episodes", "download", EPISODE_ID, "--force", cwd=tmp_path).returncode == 0
    assert (folder / "actions.npz").read_bytes() == CONTENT["actions"]


def test_a_file_that_arrives_damaged_is_not_kept(at, filled, tmp_path):
    filled.on("GET", "/store/video", Answer(200, b"other bytes"))
    assert "damaged" in one_line(at("episodes", "download", EPISODE_ID, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_slot_that_is_empty_is_one_clear_line_when_it_was_asked_for(at, filled, tmp_path):
    filled.on("GET", EPISODE, Answer(200, {**DETAIL, "artifacts": DETAIL["artifacts"][:1]}))
    line = one_line(at("episodes", "download", EPISODE_ID, "--kind", "sensors", cwd=tmp_path))
    assert line == f"robotrace: episode {EPISODE_ID} has no sensors"
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_without_the_route_of_an_episode_still_gives_its_files(at, server, tmp_path):
    server.on("GET", f"{ARTIFACT}/actions", Answer(200, CONTENT["actions"]))
    result = at("episodes", "download", EPISODE_ID, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [file.name for file in (tmp_path / EPISODE_ID).iterdir()] == ["actions.npz"]


def test_an_id_is_no_way_out_of_the_folder(at, server, tmp_path):
    server.on("GET", "/api/episodes/..%2Fx", Answer(200, DETAIL))
    inside = tmp_path / "inside"
    inside.mkdir()
    assert "--output" in one_line(at("episodes", "download", "../x", cwd=inside))
    assert list(tmp_path.iterdir()) == [inside]


def test_a_folder_that_cannot_be_written_is_one_clear_line(at, filled, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = one_line(at("episodes", "download", EPISODE_ID, "--output", str(tmp_path / "file" / "x")))
    assert "file" in line


# --- the deployment


def test_base_url_and_profile_say_which_deployment(server, robotrace_home):
    server.on("GET", EPISODES, paged([]))
    credentials = robotrace_home / "credentials"
    credentials.write_text(f'["my lab"]\napi_key = "{API_KEY}"\nbase_url = "{server.url}"\n')
    credentials.chmod(0o600)
    assert robotrace("episodes", "list", "--profile", "my lab").returncode == 0
    assert robotrace("episodes", "list", ROBOTRACE_PROFILE="my lab").returncode == 0
    elsewhere = {"ROBOTRACE_BASE_URL": "http://127.0.0.1:9", "ROBOTRACE_API_KEY": "rt_x"}
    assert robotrace("episodes", "list", "--base-url", server.url, **elsewhere).returncode == 0
    assert "'her lab'" in one_line(robotrace("episodes", "list", "--profile", "her lab"))
    assert "no API key and no base URL" in one_line(robotrace("episodes", "list"))
    assert "127.0.0.1:9" in one_line(robotrace("episodes", "list", **elsewhere))
