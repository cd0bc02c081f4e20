"""Our own faults: swallowed and named once in production, raised under these tests."""

import logging

import pytest

from robotrace import faults


@pytest.fixture
def in_production(monkeypatch):
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    monkeypatch.setattr(faults, "_counts", type(faults._counts)())


def test_a_fault_is_raised_under_test():
    error = ValueError("broken")
    with pytest.raises(ValueError, match="broken") as caught:
        faults.report("the spool", error)
    assert caught.value is error


@pytest.mark.usefixtures("in_production")
def test_a_fault_is_named_once_a_cause_and_counted(caplog):
    with caplog.at_level(logging.WARNING, "robotrace"):
        for number in range(3):
            faults.report("the spool", ValueError(f"broken {number}"))
        faults.report("the clock", KeyError("dt"))
    assert [record.getMessage() for record in caplog.records] == [
        "the spool: ValueError: broken 0 (the run goes on)",
        "the clock: KeyError: 'dt' (the run goes on)",
    ]
    assert faults.fault_counts() == {"the spool": 3, "the clock": 1}


@pytest.mark.usefixtures("in_production")
def test_the_counts_are_a_copy():
    faults.report("the spool", ValueError("broken"))
    faults.fault_counts()["the spool"] = 9
    assert faults.fault_counts() == {"the spool": 1}
