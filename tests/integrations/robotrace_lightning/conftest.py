from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("gymnasium")
pytest.importorskip("av")

PACKAGES = ("lightning.pytorch", "pytorch_lightning")

with warnings.catch_warnings():
    # The oldest uses pkg_resources, and both are written for another PyTorch than this one.
    warnings.simplefilter("ignore")
    installed = []
    for name in PACKAGES:
        try:
            installed.append(importlib.import_module(name).__name__)
        except ModuleNotFoundError:
            continue
    if not installed:
        pytest.skip("Lightning is not installed", allow_module_level=True)
    from robotrace_lightning import RoboTraceCallback  # noqa: F401 - made of what is imported by now

FRAMEWORK_WARNINGS = (
    r"ignore:.*does not have many workers",
    r"ignore:.*smaller than the logging interval",
    r"ignore:.*Consider increasing the value of the `num_workers`",
    r"ignore:.*`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"ignore:.*LeafSpec",
    r"ignore:.*pkg_resources",
    r"ignore:.*updated_called",
    r"ignore:.*in eval mode at the start of training",
    r"ignore:.*Skipping val loop",
    r"ignore:.*GPU available but not used",
    r"ignore:.*Trying to infer the `batch_size`",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "robotrace_lightning" in str(item.path):
            for text in FRAMEWORK_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(text))


@pytest.fixture(params=PACKAGES)
def pl(request: pytest.FixtureRequest) -> Any:
    """Each of the two packages."""
    if request.param not in installed:
        pytest.skip(f"{request.param} is not installed")
    return importlib.import_module(request.param)


@pytest.fixture
def one() -> Any:
    """One of them, where it does not matter which."""
    return importlib.import_module(installed[0])


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test records as a process of its own would; sums on several threads differ in their last bit."""
    import torch

    from robotrace import session

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    torch.set_num_threads(1)
    session.reset()
    yield
    session.reset()
