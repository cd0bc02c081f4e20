"""``robotrace reproduce``: folders, the spool, and a deployment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import one_line, robotrace
from wire_server import EPISODE_ID, Answer, WireServer

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

from held_episodes import EPISODE, VERDICT, arm, hold  # noqa: E402
from recorded import sealed  # noqa: E402
from unsteady_envs import ARM  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


@pytest.mark.parametrize("how", ["folder", "uuid", "prefix"])
def test_an_episode_of_the_spool_is_run_again_and_keeps_its_verdict(how: str) -> None:
    episode = arm()
    uuid = episode.manifest["uuid"]
    named = {"folder": str(episode.folder), "uuid": uuid, "prefix": uuid[:10]}[how]
    result = robotrace("reproduce", named)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{uuid}  {ARM} #0  reproduced to the bit, 12 steps"]
    kept = json.loads((episode.folder / "reproduction.json").read_text())
    assert (kept["verdict"], kept["steps"]) == ("reproduced", 12)


def test_what_may_explain_a_divergence_comes_first(tmp_path: Path) -> None:
    gain = tmp_path / "gain"
    gain.write_text("1.0")
    episode = arm(mood="physics", at=5, gain_file=str(gain))
    gain.write_text("2.0")
    manifest = json.loads((episode.folder / "manifest.json").read_text())
    manifest["create"]["metadata"]["reproduce"]["versions"]["numpy"] = "1.0"
    (episode.folder / "manifest.json").write_text(json.dumps(manifest))
    result = robotrace("reproduce", str(episode.folder), "--no-store")
    assert result.returncode == 1
    head, versions, where, *rest = result.stdout.splitlines()
    assert head.endswith("diverged at step 5, observation.pose")
    assert versions.strip().startswith("another version here: numpy 1.0 (here ")
    assert where.strip().startswith("step 5 (0.25 s), observation.pose: recorded [")
    assert where.endswith(" apart")
    assert rest == []
    assert not (episode.folder / "reproduction.json").exists()


def test_many_episodes_are_summed_up(tmp_path: Path) -> None:
    good, bad = arm(), arm(mood="random")
    names = tmp_path / "names.txt"
    names.write_text(f"{good.manifest['uuid']}  # fine\n{bad.folder}\n{tmp_path / 'nothing'}\n")
    (tmp_path / "nothing").mkdir()
    result = robotrace("reproduce", f"@{names}", "--workers", "2")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "1 reproduced, 1 not reproducible, 1 not found"
    assert "nothing holds no episode: neither a manifest.json" in result.stderr
    assert sum("[" in line.partition(" ")[0] for line in result.stdout.splitlines()) == 2


def test_the_document_has_every_verdict_in_order() -> None:
    first, second = arm(), arm(mood="random")
    result = robotrace("reproduce", str(second.folder), str(first.folder), "--json")
    assert result.returncode == 1
    told = json.loads(result.stdout)
    assert [item["verdict"] for item in told["episodes"]] == ["not_reproducible", "reproduced"]
    assert [item["episode"] for item in told["episodes"]] == [second.manifest["uuid"], first.manifest["uuid"]]
    assert (told["reproduced"], told["diverged"], told["not_reproducible"], told["not_found"]) == (1, 0, 1, [])
    assert all(item["stored"] for item in told["episodes"])


def test_an_episode_of_a_deployment_is_downloaded_and_its_verdict_stored_there(
    at: Callable[..., Any], server: WireServer
) -> None:
    stored = hold(server, arm())
    for named in (EPISODE_ID, f"{server.url}/portal/episodes/{EPISODE_ID}?t=640ms"):
        result = at("reproduce", named)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == [f"{EPISODE_ID}  from afar  reproduced to the bit, 12 steps"]
    assert [item["verdict"] for item in stored] == ["reproduced"] * 2
    assert stored[0]["video"] is None


def test_a_deployment_that_keeps_no_verdicts_is_no_failure(at: Callable[..., Any], server: WireServer) -> None:
    hold(server, arm())
    server.on("POST", VERDICT, Answer(404, {"error": "no such route"}))
    result = at("reproduce", EPISODE_ID)
    assert result.returncode == 0
    assert f"the verdict is stored nowhere: {server.url} keeps no verdicts" in result.stdout


def test_a_delivered_episode_is_found_by_its_uuid(at: Callable[..., Any], server: WireServer) -> None:
    from robotrace.deliver.spool import open_spool

    episode = arm()
    hold(server, episode)
    spool, uuid = open_spool(), episode.manifest["uuid"]
    (spool.done / f"{uuid}.json").write_text(json.dumps({"uuid": uuid, "episode_id": EPISODE_ID}))
    shutil.rmtree(episode.folder)
    assert at("reproduce", uuid).stdout.startswith(EPISODE_ID)


def test_a_downloaded_folder_is_run_again_without_the_folders_it_names(
    at: Callable[..., Any], server: WireServer, tmp_path: Path
) -> None:
    hold(server, arm())
    assert at("episodes", "download", EPISODE_ID, "--output", str(tmp_path / "there")).returncode == 0
    result = robotrace("reproduce", str(tmp_path / "there"))
    assert result.returncode == 0, result.stdout
    assert (tmp_path / "there" / "reproduction.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nosuchepisode",), "neither a folder nor in the spool, and no deployment can be asked: no API key"),
        ((".",), "holds no episode"),
    ],
)
def test_what_is_nowhere_is_said_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    assert says in one_line(robotrace("reproduce", *arguments))


def test_a_deployment_without_the_episode_says_so(at: Callable[..., Any], server: WireServer) -> None:
    server.on("GET", EPISODE, Answer(404, {"error": "there is no such episode"}))
    assert one_line(at("reproduce", EPISODE_ID)) == f"robotrace: {server.url} has no episode {EPISODE_ID}"


def test_the_beginning_of_two_episodes_is_refused() -> None:
    episode = arm()
    uuid = episode.manifest["uuid"]
    twin = episode.folder.with_name(f"{episode.folder.name[:-1]}{'0' if uuid[-1] != '0' else '1'}")
    shutil.copytree(episode.folder, twin)
    assert "is the beginning of 2 episodes" in one_line(robotrace("reproduce", uuid[:12]))
    assert len(sealed()) == 2


@pytest.mark.parametrize("arguments", [(), ("x", "--workers", "0"), ("x", "--import-from", "/nowhere"), ("@/nowhere",)])
def test_wrong_usage_is_told_before_anything_runs(arguments: tuple[str, ...]) -> None:
    assert robotrace("reproduce", *arguments).returncode == 2
