"""A state machine over the spool: whatever order things happen in, every episode is in exactly one place."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import HealthCheck, settings  # noqa: E402
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule  # noqa: E402

from robotrace.config import Target  # noqa: E402
from robotrace.deliver import failpoints  # noqa: E402
from robotrace.deliver.blocks import BlockFile  # noqa: E402
from robotrace.deliver.salvage import salvage_dead_recordings  # noqa: E402
from robotrace.deliver.sealing import seal_episode  # noqa: E402
from robotrace.deliver.spool import RecordingFolder, open_spool  # noqa: E402
from robotrace.deliver.uploader import Uploader  # noqa: E402
from robotrace.testing import FakeClock, Fault, FaultServer  # noqa: E402
from robotrace.testing.episodes import write_episode  # noqa: E402

choices = hypothesis.strategies.sampled_from
STEPS = [name for name in failpoints.FAILPOINTS if name.startswith(("seal.", "upload.", "done.", "failed.", "state."))]


class SpoolMachine(RuleBasedStateMachine):
    """Processes that record, seal and die; uploaders that fail at any step; people who retry."""

    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="robotrace-machine-"))
        self.spool = open_spool(self.home)
        self.server = FaultServer()
        self.clock = FakeClock()
        self.ended: set[str] = set()
        self.sealed: set[str] = set()
        self.number = 0
        self.new_uploader()

    def new_uploader(self) -> None:
        target = Target(self.server.url, "rt_key")
        self.uploader = Uploader(self.spool, lambda: target, clock=self.clock, rng=random.Random(1))

    def teardown(self) -> None:
        failpoints.arm("")
        self.server.fault = lambda method, path: None
        for _ in range(60):
            self.clock.now += 400
            self.uploader.run_once()
        self.uploader._close()
        self.server.close()
        refused = {folder.name for folder in self.spool.failed_folders()}
        arrived = {uuid for uuid, stored in self.server.episodes.items() if stored.finalize is not None}
        waiting = {entry.uuid for entry in self.spool.sealed_episodes()}
        try:
            assert waiting == set()
            assert self.sealed <= arrived | refused
            assert arrived & refused == set()
        finally:
            shutil.rmtree(self.home)

    @rule(target=processes)
    def a_process_begins(self) -> tuple[RecordingFolder, BlockFile]:
        owned = self.spool.new_recording_folder()
        return owned, BlockFile(owned.path / "blocks-0001.rtb")

    @rule(process=processes)
    def it_records_and_seals(self, process: tuple[RecordingFolder, BlockFile]) -> None:
        owned, file = process
        self.number += 1
        parts = write_episode(file, label=f"episode-{self.number}")
        self.ended.add(parts.uuid)
        try:
            seal_episode(self.spool, owned.path / parts.uuid, parts)
            self.sealed.add(parts.uuid)
        except RuntimeError:  # a failpoint
            pass

    @rule(process=consumes(processes))
    def it_dies(self, process: tuple[RecordingFolder, BlockFile]) -> None:
        owned, file = process
        file.close()
        os.close(owned.lock)

    @rule(name=choices(STEPS), hit=hypothesis.strategies.integers(1, 3))
    def the_next_steps_fail_at(self, name: str, hit: int) -> None:
        failpoints.arm(f"{name}=raise@{hit}")

    @rule()
    def all_goes_well(self) -> None:
        failpoints.arm("")
        self.server.fault = lambda method, path: None

    @rule(status=choices([400, 403, 409, 429, 503]), part=hypothesis.strategies.integers(0, 2))
    def the_server_refuses(self, status: int, part: int) -> None:
        ending = ("/episode", "/sensors", "/finalize")[part]
        self.server.fault = lambda method, path: Fault(status, {"error": "no"}) if path.endswith(ending) else None

    @rule(seconds=choices([0, 1, 70, 700]))
    def an_uploader_makes_a_round(self, seconds: int) -> None:
        self.clock.now += seconds
        try:
            self.uploader.run_once()
        except RuntimeError:  # a failpoint
            pass

    @rule()
    def another_uploader_takes_over(self) -> None:
        self.uploader._close()
        self.new_uploader()

    @rule()
    def someone_retries_what_was_refused(self) -> None:
        for folder in self.spool.failed_folders():
            assert self.spool.retry(folder) is not None

    @rule()
    def someone_salvages_and_tidies(self) -> None:
        self.sealed |= {entry.uuid for entry in salvage_dead_recordings(self.spool)}
        self.spool.tidy()

    @invariant()
    def every_sealed_episode_is_in_one_place(self) -> None:
        sealed = [entry.uuid for entry in self.spool.sealed_episodes()]
        failed = [folder.name for folder in self.spool.failed_folders()]
        assert len({*sealed, *failed}) == len(sealed) + len(failed)
        for uuid in self.sealed - {*sealed, *failed}:
            stored = self.server.episodes.get(uuid)
            assert stored is not None
            assert stored.finalize is not None

    @invariant()
    def none_is_there_twice(self) -> None:
        names = [stored.create["name"] for stored in self.server.episodes.values()]
        assert len(names) == len(set(names))


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
