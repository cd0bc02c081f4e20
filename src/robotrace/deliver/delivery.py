"""One attempt to bring one sealed episode to the deployment: create, PUT, finalize, receipt.

Every step can be repeated: create carries the episode's uuid as ``Idempotency-Key``, a PUT replaces itself, finalize
answers the same again. What is done is noted in ``upload.json``, so that an attempt goes on where the last one ended.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from robotrace.deliver.retry import Action, Step, decide
from robotrace.deliver.spool import MANIFEST_SCHEMA, SealedEpisode, Spool
from robotrace.errors import RobotraceError
from robotrace.ingest import create_episode, finalize_episode
from robotrace.transport import Transport

__all__ = ["Attempt", "deliver"]

_MAX_RECREATES = 5


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended: ``action`` is None when the episode was delivered."""

    action: Action | None
    error: RobotraceError | OSError | None = None
    bytes_sent: int = 0


class _StepError(Exception):
    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(str(error))
        self.step = step
        self.error = error


def deliver(spool: Spool, entry: SealedEpisode, transport: Transport) -> Attempt:
    """Try to deliver ``entry``; on success it is done, on a permanent refusal it is in ``failed``.

    Never raises for what a deployment or a network can do.
    """
    manifest = entry.manifest()
    if manifest is None:
        if not entry.folder.exists():  # another uploader was faster
            return Attempt(None)
        spool.fail(entry, "the manifest is missing or damaged")
        return Attempt(Action.FAIL)
    if manifest.get("schema") != MANIFEST_SCHEMA:
        spool.fail(entry, f"manifest schema {manifest.get('schema')!r} is not known to this version")
        return Attempt(Action.FAIL)
    state = _state_for(entry, transport)
    sent = 0
    try:
        sent = _upload(entry, manifest, state, transport)
        answer = _step("finalize", lambda: finalize_episode(transport, state["episode_id"], _finalize(manifest)))
    except _StepError as failure:
        return _after_failure(spool, entry, state, failure)
    receipt = {
        "uuid": entry.uuid,
        "episode_id": state["episode_id"],
        "status": answer.get("status"),
        "delivered_unix_s": int(time.time()),
        "bytes": sum(artifact["size"] for artifact in manifest["artifacts"]),
    }
    spool.finish(entry, receipt)
    return Attempt(None, bytes_sent=sent)


def _state_for(entry: SealedEpisode, transport: Transport) -> dict[str, Any]:
    # An episode half sent to one deployment starts anew when the key points to another. The URL itself stays out
    # of the file.
    deployment = hashlib.sha256(transport.base_url.encode()).hexdigest()[:16]
    state = entry.upload_state()
    if state.get("deployment") != deployment:
        state = {"deployment": deployment, "attempts": 0, "uploaded": [], "recreates": 0}
    state["attempts"] += 1
    return state


def _upload(entry: SealedEpisode, manifest: dict[str, Any], state: dict[str, Any], transport: Transport) -> int:
    missing = [artifact for artifact in manifest["artifacts"] if artifact["kind"] not in state["uploaded"]]
    if "episode_id" in state and not missing:
        return 0
    answer = _step("create", lambda: create_episode(transport, _create(manifest), idempotency_key=entry.uuid))
    state["episode_id"] = answer["episode_id"]
    entry.write_upload_state(state)
    if answer.get("storage") == "unconfigured":
        return 0
    urls = {item["kind"]: item["url"] for item in answer["upload_urls"]}
    sent = 0
    for artifact in missing:
        kind = artifact["kind"]
        if kind not in urls:
            raise _StepError("put", RobotraceError(f"the deployment gave no URL for {kind}"))
        path = entry.folder / artifact["file"]
        sent += _step("put", lambda: transport.put_file(urls[kind], path, artifact["content_type"]))  # noqa: B023
        state["uploaded"].append(kind)
        entry.write_upload_state(state)
    return sent


def _step(step: Step, request: Any) -> Any:
    try:
        return request()
    except (RobotraceError, OSError) as exc:
        raise _StepError(step, exc) from exc


def _after_failure(spool: Spool, entry: SealedEpisode, state: dict[str, Any], failure: _StepError) -> Attempt:
    error = failure.error if isinstance(failure.error, (RobotraceError, OSError)) else None
    text = f"{failure.step}: {failure.error}"
    action = decide(failure.step, failure.error)
    if action is Action.RECREATE:
        state["recreates"] += 1
        state["uploaded"] = [] if failure.step == "finalize" else state["uploaded"]
        action = Action.RETRY if state["recreates"] <= _MAX_RECREATES else Action.FAIL
    if action is Action.FAIL:
        spool.fail(entry, text)
    else:
        state["last_error"] = text
        entry.write_upload_state(state)
    return Attempt(action, error)


def _create(manifest: dict[str, Any]) -> dict[str, Any]:
    create: dict[str, Any] = manifest["create"]
    metadata = {"client_episode_id": manifest["uuid"], **create.get("metadata", {})}
    return {**create, "metadata": metadata}


def _finalize(manifest: dict[str, Any]) -> dict[str, Any]:
    artifacts = [{key: artifact[key] for key in ("kind", "size", "sha256")} for artifact in manifest["artifacts"]]
    return {**manifest["finalize"], "artifacts": artifacts}
