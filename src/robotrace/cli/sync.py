"""``robotrace sync``: deliver what waits in this machine's spool, now or from now on."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

from robotrace.cli.options import deployment_options, json_option
from robotrace.cli.output import CountBar, clean, episode_count, print_json, size
from robotrace.config import resolve_target
from robotrace.deliver.files import read_json
from robotrace.deliver.retry import Action
from robotrace.deliver.spool import Spool, open_spool

if TYPE_CHECKING:
    from robotrace.deliver.delivery import Attempt
    from robotrace.deliver.uploader import Uploader

__all__ = ["sync"]

_POLL_S = 0.05
_STOP_S = 5.0


@click.command(short_help="Deliver what waits on this machine.")
@deployment_options
@json_option
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C: whatever is recorded here is delivered.")
def sync(base_url: str | None, profile: str | None, as_json: bool, watch: bool) -> None:
    """Deliver the episodes that wait on this machine.

    Brings back what killed processes left, uploads as fast as it goes, and ends when nothing waits any more, or when
    the deployment does not answer; exit code 1 when an episode waits still or was refused. With --watch it is the
    uploader of this machine until it is stopped, and --json prints a line for each episode.

    \b
    Example:
      robotrace sync
      robotrace sync --watch
    """
    from robotrace.deliver.uploader import Uploader

    target = resolve_target(base_url=base_url, profile=profile)
    spool = open_spool()
    report = _Report(spool, as_json=as_json, watch=watch)
    uploader = Uploader(spool, lambda: target, on_settled=report.settled)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C
    try:
        if watch:
            uploader.start()
            report.watching(target.base_url)
            stop.wait()
        else:
            with report.progress():
                _deliver_all(spool, uploader, report)
    except KeyboardInterrupt:
        if not watch:
            raise click.Abort from None
    finally:
        uploader.stop(_STOP_S)
    if not watch:
        report.end(uploader)


def _deliver_all(spool: Spool, uploader: Uploader, report: _Report) -> None:
    uploader.start()
    uploader.recover_now(timeout_s=600.0)
    while True:
        waiting = spool.sealed_episodes()
        report.show(len(waiting))
        if not waiting or uploader.is_blocked:
            return
        if uploader.is_second:
            told = read_json(spool.uploader_file) or {}
            report.other(told.get("pid"))
            if told.get("paused") or told.get("waits_s"):
                return
        uploader.wake()
        time.sleep(_POLL_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Report:
    """What the command says."""

    def __init__(self, spool: Spool, *, as_json: bool, watch: bool) -> None:
        self._spool = spool
        self._as_json = as_json
        self._watch = watch
        self._began = time.monotonic()
        self._most = 0
        self._bar = CountBar("delivering", enabled=not as_json)
        self._told_other = False
        self.delivered = 0
        self.failed = 0

    def progress(self) -> CountBar:
        return self._bar

    def show(self, waiting: int) -> None:
        self._most = max(self._most, waiting + self.delivered + self.failed)
        self._bar.show(self._most - waiting, self._most)

    def settled(self, uuid: str, attempt: Attempt) -> None:
        if attempt.action is None:
            self.delivered += 1
        else:
            self.failed += 1
        if not self._watch:
            return
        state = "delivered" if attempt.action is None else "refused"
        error = None if attempt.error is None else clean(str(attempt.error))
        if self._as_json:
            print_json({"uuid": uuid, "state": state, "bytes": attempt.bytes_sent, "error": error}, lines=True)
        else:
            more = size(attempt.bytes_sent) if attempt.action is not Action.FAIL else error
            click.echo(f"{uuid}  {state}  {more}")

    def other(self, pid: object) -> None:
        if not self._told_other:
            self._told_other = True
            click.echo(f"process {pid or '?'} uploads on this machine; waiting for it (Ctrl-C ends this)", err=True)

    def watching(self, base_url: str) -> None:
        where = f"episodes of {self._spool.root} go to {base_url}; Ctrl-C ends it"
        click.echo(clean(where), err=True)

    def end(self, uploader: Uploader) -> None:
        waiting = self._spool.sealed_episodes()
        errors = [entry.upload_state().get("last_error") for entry in waiting]
        reason = next((error for error in errors if isinstance(error, str)), None)
        counts = uploader.counts
        if self._as_json:
            print_json(
                {
                    "delivered": self.delivered,
                    "bytes": counts.bytes,
                    "salvaged": counts.salvaged,
                    "failed": self.failed,
                    "waiting": len(waiting),
                    "last_error": reason,
                }
            )
        else:
            seconds = time.monotonic() - self._began
            click.echo(f"{episode_count(self.delivered)} delivered, {size(counts.bytes)} in {seconds:.1f} s")
            if counts.salvaged:
                click.echo(f"{episode_count(counts.salvaged)} of killed processes brought back")
            if self.failed:
                click.echo(f"! {episode_count(self.failed)} refused for good; `robotrace retry` lists them")
            if waiting:
                click.echo(clean(f"! {episode_count(len(waiting))} still waiting: {reason or 'nobody takes them'}"))
        if self.failed or waiting:
            sys.exit(1)
