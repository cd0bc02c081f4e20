"""What README and docs tell a user to run, runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme import ROOT, blocks, documents

AUTOMATIC = ROOT / "docs" / "automatic.md"
OTHERS = [document for document in documents() if document != AUTOMATIC]
SNIPPETS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in OTHERS
    for number, block in enumerate(blocks(document, "python"))
]


def run(path: Path, cwd: Path, *, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", warnings, str(path)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("gymnasium")
    pytest.importorskip("pygame")
    pytest.importorskip("fastapi")
    from robotrace.serve.server import Deployment
    from robotrace.serve.settings import Settings

    with Deployment(Settings(tmp_path / "deployment", port=0)) as deployment:
        monkeypatch.setenv("ROBOTRACE_BASE_URL", deployment.base_url)
        monkeypatch.setenv("ROBOTRACE_API_KEY", deployment.first_key or "")
        yield deployment.base_url


def arrived(base_url: str) -> list[dict[str, object]]:
    import httpx

    return httpx.get(f"{base_url}/portal/episodes.json?limit=200").json()["episodes"]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_runs_as_printed_and_its_episodes_arrive(snippet: str, deployment: str, tmp_path: Path) -> None:
    if "stable_baselines3" in snippet:
        pytest.importorskip("stable_baselines3")
    if "lightning" in snippet:
        pytest.importorskip("lightning")
    if "h5py" in snippet:
        pytest.importorskip("h5py")
    if "ros2" in snippet:
        pytest.importorskip("rosbags")
        from ros2_bags import write_pick_7

        write_pick_7(tmp_path / "pick_7")
    (tmp_path / "snippet.py").write_text(snippet)
    # Lightning warns of small data, of a processor that is not used, and of other packages.
    result = run(tmp_path / "snippet.py", tmp_path, warnings="default" if "lightning" in snippet else "error")
    assert result.returncode == 0, result.stderr
    assert arrived(deployment)


def test_the_example_runs_and_its_episodes_arrive(deployment: str, tmp_path: Path) -> None:
    example = ROOT / "examples" / "plain_loop.py"
    assert len([line for line in example.read_text().splitlines() if line.strip()]) < 20
    result = run(example, tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    episodes = arrived(deployment)
    assert sorted(int(str(episode["seed"])) for episode in episodes) == list(range(10))
    assert {episode["policy_version"] for episode in episodes} == {"random-v0"}
    assert all(re.fullmatch("[0-9a-f]{40}", str(episode["git_sha"])) for episode in episodes)


def test_the_example_of_a_replay_runs_and_its_run_is_summed_up(deployment: str, tmp_path: Path) -> None:
    result = run(ROOT / "examples" / "replay_policy.py", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    *replays, verdict = result.stdout.splitlines()
    assert len(replays) == 3
    assert all(re.fullmatch(r"\d+ steps, mean action distance 0\.\d\d", line) for line in replays)
    assert verdict == "hold The candidate has no outcome of its own on 3 of 3 baselines."
    assert sorted(str(episode["policy_version"]) for episode in arrived(deployment)) == (
        ["angle-and-speed-v1"] * 3 + ["angle-v1"] * 3
    )


def test_the_example_of_a_training_learns_and_its_episodes_arrive(deployment: str, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    result = run(ROOT / "examples" / "sb3_ppo.py", tmp_path)
    assert result.returncode == 0, result.stderr
    mean = re.fullmatch(r"PPO@24576: (\d+) ± \d+ over 5 episodes\n", result.stdout)
    assert mean is not None
    assert int(mean[1]) > 150
    versions = [str(episode["policy_version"]) for episode in arrived(deployment)]
    assert versions.count("PPO@24576") >= 5
    assert {"PPO@0", "PPO@8000", "PPO@16000", "PPO@24000"} <= set(versions)


def test_the_example_of_imitation_shows_what_it_can_after_each_epoch(deployment: str, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    result = run(ROOT / "examples" / "lightning_imitation.py", tmp_path, warnings="default")
    assert result.returncode == 0, result.stderr
    episodes = arrived(deployment)
    versions = [str(episode["policy_version"]) for episode in episodes]
    assert sorted(versions) == sorted(f"Imitation@e{epoch}-s{63 * (epoch + 1)}" for epoch in range(4) for _ in range(3))
    rewards = [
        episode["reward_total"] for episode in episodes if str(episode["policy_version"]).startswith("Imitation@e3")
    ]
    assert rewards == [500.0] * 3


def test_the_example_of_reinforcement_in_lightning_learns_and_its_episodes_arrive(
    deployment: str, tmp_path: Path
) -> None:
    pytest.importorskip("lightning")
    result = run(ROOT / "examples" / "lightning_reinforce.py", tmp_path, warnings="default")
    assert result.returncode == 0, result.stderr
    mean = re.search(r"^(\d+) steps on average after 50 updates$", result.stdout, re.MULTILINE)
    assert mean is not None
    assert int(mean[1]) > 150
    versions = {str(episode["policy_version"]) for episode in arrived(deployment)}
    assert "Reinforce@e0-s0" in versions
    assert any(version.startswith("Reinforce@e4") for version in versions)


def test_every_command_is_one_that_ci_or_a_test_runs() -> None:
    known = {
        "pip install '.[demo]' && robotrace demo",  # .ci/run, in an empty environment
        "pip install tox && tox",  # .ci/run
        "robotrace serve",  # tests/cli/test_commands.py
        "robotrace explain 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11",  # tests/cli/test_explain.py
        "robotrace serve --public-url https://team.example",  # there, too
        "robotrace projects create nightly\nrobotrace keys create ci --project nightly",  # tests/cli/test_keys.py
        "pip install 'robotrace-dev[postgres,s3]'",  # tox.ini: py311-postgres
        "robotrace serve --check && robotrace serve",  # tests/serve/test_check.py
        "robotrace import low_dim.hdf5 --dry-run",  # tests/cli/test_import.py
        "robotrace reproduce 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11",  # tests/cli/test_reproduce.py
        "robotrace render 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11 -o fall.mp4",  # tests/cli/test_render.py
        "robotrace export 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11\n"
        "robotrace export @failures.txt --format hdf5 -o failures",  # tests/cli/test_export.py
        "robotrace serve --trace-url 'https://jaeger.example/trace/{trace_id}'",  # tests/serve/test_trace_links.py
    }
    assert {block.strip() for document in OTHERS for block in blocks(document, "bash")} == known


def test_every_command_of_the_page_without_code_records_and_the_files_are_as_printed(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    pytest.importorskip("av")
    from robotrace.deliver.spool import open_spool

    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    if shutil.which("robotrace", path=path) is None:
        pytest.skip("the package is not installed as one")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PATH": path, "ROBOTRACE_MODE": "offline"}
    ran = 0
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", AUTOMATIC.read_text(), re.MULTILINE | re.DOTALL):
        if language != "bash":
            name = text.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
            continue
        for line in text.splitlines():
            if "hydra" in line and importlib.util.find_spec("hydra") is None:
                continue
            before = len(open_spool().sealed_episodes())
            result = subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert (result.returncode, result.stderr) == (0, ""), line
            assert len(open_spool().sealed_episodes()) > before, line
            ran += 1
    assert ran >= 3


def test_every_link_and_file_named_in_the_docs_exists() -> None:
    for document in documents():
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_configurations_of_proxies_are_well_formed_and_let_large_files_through() -> None:
    page = ROOT / "docs" / "operations.md"
    for language, needed in (
        ("nginx", ["client_max_body_size 0;", "proxy_request_buffering off;", "proxy_set_header Host $host;"]),
        ("caddy", ["reverse_proxy 127.0.0.1:8321", "flush_interval -1"]),
    ):
        found = blocks(page, language)
        assert found
        for text in found:
            assert all(line in text for line in needed), text
            depth = 0
            for line in filter(None, map(str.strip, text.splitlines())):
                depth += line.endswith("{") - (line == "}")
                assert depth >= 0, line
                ends = (";", "{", "}") if language == "nginx" else ("",)
                assert line.endswith(ends), line
            assert depth == 0, text


def test_the_environment_of_a_team_is_what_a_deployment_reads() -> None:
    from robotrace import config

    (text,) = blocks(ROOT / "docs" / "operations.md", "env")
    names = [line.partition("=")[0] for line in text.splitlines()]
    ours = {getattr(config, name) for name in config.__all__ if name.startswith("ENV_SERVE_")}
    assert {name for name in names if name.startswith("ROBOTRACE_")} == ours
    secret = text.partition(f"{config.ENV_SERVE_SECRET}=")[2].partition("\n")[0]
    assert len(secret) >= 32


def test_the_documented_options_are_the_options() -> None:
    pytest.importorskip("numpy")
    from dataclasses import fields

    from robotrace.capture.options import Options

    table = (ROOT / "docs" / "recording.md").read_text()
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert {item.name for item in fields(Options)} <= named


def test_the_documented_variables_are_the_variables() -> None:
    from robotrace import config

    text = "".join(document.read_text() for document in documents())
    for name in (getattr(config, name) for name in config.__all__ if name.startswith("ENV_")):
        short = name.replace("ROBOTRACE", "…")
        assert name in text or short in text or name == config.ENV_RAISE, name


def test_every_picture_is_there_small_and_shown() -> None:
    """``python -m tests.serve.screenshots`` makes them."""
    shown: set[Path] = set()
    for document in documents():
        for target in re.findall(r'(?:src|srcset)="([^"]+)"', document.read_text()):
            picture = (document.parent / target).resolve()
            assert picture.is_file(), (document.name, target)
            assert picture.stat().st_size < 200_000, target
            shown.add(picture)
    assert shown == {path.resolve() for path in (ROOT / "docs" / "images").iterdir()}
    assert sum(path.stat().st_size for path in shown) < 3_000_000


def test_a_picture_in_the_dark_is_of_the_same_page() -> None:
    for document in documents():
        text = document.read_text()
        pairs = re.findall(
            r'<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\n<img alt="[^"]+" src="([^"]+)">', text
        )
        assert len(pairs) == text.count("<picture>") == text.count("<img ")
        assert all(dark == light.replace("-light.", "-dark.") for dark, light in pairs)
