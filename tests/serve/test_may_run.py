"""Which code of an episode the deployment's machine runs: names of what the operator put there, nothing else."""

from __future__ import annotations

import sys

import pytest
from rerun_episodes import CARTPOLE, reproduce

from robotrace.serve.may_run import may_run, what_runs


@pytest.fixture(autouse=True)
def gymnasium(tmp_path_factory, monkeypatch):
    """Found by name on every machine; never imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "gymnasium").mkdir()
    (folder / "gymnasium" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.delitem(sys.modules, "gymnasium", raising=False)
    monkeypatch.syspath_prepend(str(folder))


def of(entry_point=CARTPOLE, *, wrappers=(), **more):
    block = reproduce(entry_point, **more)
    block["env_spec"]["additional_wrappers"] = [
        {"name": point.partition(":")[2], "entry_point": point, "kwargs": {}} for point in wrappers
    ]
    return {"reproduce": block}


def test_an_installed_environment_may_run_and_is_not_imported_to_find_out():
    assert may_run(of(wrappers=["gymnasium.wrappers:TimeAwareObservation"])) is None


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "recorded without"),
        ({"reproduce": "x"}, "recorded without"),
        (of(reproducible=False, reason="its spec holds a lambda"), "its spec holds a lambda"),
        ({"reproduce": {"reproducible": True}}, "not known"),
        (of(None), "does not name"),
        (of(""), "does not name"),
        (of("gymnasium"), "does not name"),
        (of("gymnasium:"), "does not name"),
        (of("../../tmp/x:Env"), "does not name"),
        (of("/tmp/x:Env"), "does not name"),
        (of("gymnasium:__import__('os')"), "does not name"),
        (of("os:system"), "os has no environments"),
        (of("subprocess:Popen"), "subprocess has no environments"),
        (of("builtins:eval"), "builtins has no environments"),
        (of("pip.__main__:main"), "pip.__main__ has no environments"),
        (of("no_such_package_here.envs:Env"), "no_such_package_here is not installed here"),
        (of(wrappers=["os:system"]), "os has no environments"),
        (of(wrappers=["no_such_package_here:Wrapper"]), "no_such_package_here is not installed here"),
    ],
)
def test_why_not(metadata, why):
    assert why in may_run(metadata)


@pytest.mark.parametrize("wrappers", [(), ("__main__:Wrapper",)])
def test_a_script_is_never_run_and_named_without_its_folder(tmp_path, wrappers):
    source = {"module": "__main__", "folder": str(tmp_path), "file": str(tmp_path / "train.py"), "sha256": "0" * 64}
    (tmp_path / "train.py").write_text("")
    reason = may_run(of("__main__:Env", wrappers=wrappers, sources=[source]), (tmp_path,))
    assert reason == "its environment is defined in the script train.py, which no deployment runs"


def test_a_script_among_the_sources_alone_is_reason_enough(tmp_path):
    """It would be looked for, and run, in the folders to import from."""
    (tmp_path / "setup.py").write_text("")
    source = {"module": "__main__", "folder": "/", "file": "/x/setup.py", "sha256": "0" * 64}
    assert "script setup.py" in may_run(of(sources=[source]), (tmp_path,))


def test_a_folder_that_the_recording_names_is_no_folder_to_import_from(tmp_path):
    (tmp_path / "uploaded_envs.py").write_text("")
    source = {"module": "uploaded_envs", "folder": str(tmp_path), "file": str(tmp_path / "uploaded_envs.py")}
    metadata = of("uploaded_envs:Env", sources=[source])
    assert may_run(metadata) == "uploaded_envs is not installed here"
    assert may_run(metadata, (tmp_path,)) is None


def test_without_the_framework_nothing_runs(tmp_path, monkeypatch):
    (tmp_path / "my_envs.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "Path" in str(finder)])
    assert may_run(of("my_envs:Env")) == "gymnasium is not installed here"


def test_a_module_that_was_loaded_without_a_trace_is_found(monkeypatch):
    """``find_spec`` raises for one that has no spec."""
    monkeypatch.setitem(sys.modules, "traceless_envs", type(sys)("traceless_envs"))
    assert may_run(of("traceless_envs:Env")) == "traceless_envs is not installed here"


def test_what_runs_names_the_environment_first():
    found = what_runs(of(wrappers=["my_envs.wrappers:Noise"], versions={"gymnasium": "0.1"}))
    assert [(code.entry_point, code.package, code.recorded) for code in found] == [
        (CARTPOLE, "gymnasium", "0.1"),
        ("my_envs.wrappers:Noise", "my_envs", None),
    ]
    assert what_runs({}) == []
