"""The process and the machine."""

import json
import os
import platform
import sys
import types
from importlib import metadata

import robotrace
from robotrace.context import host
from robotrace.context.host import host_facts, versions


def test_the_host_is_named_in_plain_json():
    facts = host_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["pid"], facts["hostname"]) == (os.getpid(), platform.node())


def test_only_what_is_imported_has_a_version(monkeypatch):
    for name in host._PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    host._versions.cache_clear()
    own = {"python": platform.python_version(), "robotrace": robotrace.__version__}
    assert versions() == own
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(__version__="2.13.0+cpu"))
    monkeypatch.setitem(sys.modules, "hydra", None)  # does not say it; what its package says is asked for
    monkeypatch.setitem(sys.modules, "mujoco", types.SimpleNamespace(__version__=None))  # in neither way

    def version(name):
        if name == "hydra-core":
            return "1.3.8"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert versions() == {**own, "torch": "2.13.0+cpu", "hydra": "1.3.8"}
    host._versions.cache_clear()
