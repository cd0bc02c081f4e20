"""The process and the machine."""

import json
import os
import platform
import sys
from importlib import metadata

import robotrace
from robotrace.context.host import host_facts, versions


def test_the_host_is_named_in_plain_json():
    facts = host_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["pid"], facts["hostname"]) == (os.getpid(), platform.node())


def test_only_what_is_imported_has_a_version(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setitem(sys.modules, "mujoco", None)

    def version(name):
        if name == "mujoco":
            return "3.2.1"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert versions() == {"python": platform.python_version(), "robotrace": robotrace.__version__, "mujoco": "3.2.1"}
