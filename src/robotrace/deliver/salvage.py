"""Bring back what a killed process left: every episode it had begun, sealed, and its folder removed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from robotrace.deliver.blocks import read_records
from robotrace.deliver.failpoints import reach
from robotrace.deliver.files import try_lock
from robotrace.deliver.sealing import EpisodeParts, complete_episode
from robotrace.deliver.spool import MAX_GROUP, SealedEpisode, Spool, WholeEpisode

__all__ = ["salvage_dead_recordings"]

_log = logging.getLogger("robotrace")


def salvage_dead_recordings(spool: Spool) -> list[SealedEpisode]:
    """Seal the episodes of every recording folder whose process, and its encoder, are gone.

    An episode that had ended is sealed as it ended; an open one as failed, with everything up to its last block.
    A folder that cannot be salvaged is left as it is and named in one warning.
    """
    sealed: list[SealedEpisode] = []
    for folder in spool.recording_folders():
        try:
            lock = try_lock(folder / "owner.lock")
        except OSError:  # salvaged by someone else in this moment
            continue
        if lock is None:
            continue
        try:
            sealed += _salvage(spool, folder)
            reach("salvage.before_discard")
            spool.discard(folder)
        except Exception as exc:
            _log.warning("recording folder %s could not be salvaged and is left as it is: %s", folder, exc)
        finally:
            os.close(lock)
    return sealed


def _salvage(spool: Spool, folder: Path) -> list[SealedEpisode]:
    episodes: dict[str, EpisodeParts] = {}
    for path in sorted(folder.glob("blocks-*.rtb")):
        for record in read_records(path):
            episodes.setdefault(record.uuid, EpisodeParts(record.uuid)).feed(record)
    sealed: list[SealedEpisode] = []
    group: list[WholeEpisode] = []
    # A block file holds thousands of short episodes that were sealed long ago: asked once, not once each.
    known = spool.known_uuids()
    for uuid, parts in episodes.items():
        if uuid in known:
            continue
        reach("salvage.before_seal")
        try:
            whole = complete_episode(folder / uuid, parts, salvaged=True)
        except Exception:
            _seal(spool, group)  # on a full disk: once these have been uploaded there is room for the others
            raise
        if whole is not None:
            group.append(whole)
        if len(group) == MAX_GROUP:
            sealed += _seal(spool, group)
            group = []
    return sealed + _seal(spool, group)


def _seal(spool: Spool, group: list[WholeEpisode]) -> list[SealedEpisode]:
    results = spool.seal(group)
    sealed = [result for result in results if isinstance(result, SealedEpisode)]
    if sealed:
        reach("salvage.after_seal")
    for result in results:
        if isinstance(result, Exception):
            raise result
    return sealed
