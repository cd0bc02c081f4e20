"""One attempt to bring one sealed episode to the deployment: create, PUT, finalize, its verdict, receipt.

Every step can be repeated: create carries the episode's uuid as ``Idempotency-Key``, a PUT replaces itself, finalize
answers the same again. What is done is noted in ``upload.json``, so that an attempt goes on where the last one ended.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotrace.deliver.failpoints import reach
from robotrace.deliver.retry import Action, Step, decide, described, is_about_the_signature
from robotrace.deliver.spool import MANIFEST_SCHEMA, SealedEpisode, Spool
from robotrace.errors import RobotraceError
from robotrace.ingest import create_episode, finalize_episode, push_verdict, sign_uploads
from robotrace.transport import Progress, Transport, host_of

__all__ = ["Attempt", "deliver"]

_MAX_RECREATES = 5
_MAX_VERDICT_TRIES = 3
"""The episode is there by then: it does not wait for a deployment that has trouble with verdicts only."""


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        action: None when the episode was delivered.
        error: What it failed with.
        bytes_sent: In files that arrived.
        step: The request that failed.
        store: ``host:port`` that the files went to; None where none was sent.
    """

    action: Action | None
    error: Exception | None = None
    bytes_sent: int = 0
    step: Step | None = None
    store: str | None = None


class _StepError(Exception):
    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(str(error))
        self.step = step
        self.error = error


def deliver(spool: Spool, entry: SealedEpisode, transport: Transport, *, progress: Progress | None = None) -> Attempt:
    """Try to deliver ``entry``; on success it is done, on a permanent refusal it is in ``failed``.

    Never raises for what a deployment or a network can do.

    Args:
        spool: Where it is.
        entry: A sealed episode.
        transport: To the deployment.
        progress: Called as the chunks of each file are handed over; may wait.
    """
    if spool.is_done(entry.uuid):  # killed between the receipt and the end
        spool.discard(entry.folder)
        return Attempt(None)
    manifest = entry.manifest()
    if manifest is None:
        if not entry.folder.exists():  # another uploader was faster
            return Attempt(None)
        spool.fail(entry, "the manifest is missing or damaged")
        return Attempt(Action.FAIL)
    if manifest.get("schema") != MANIFEST_SCHEMA:
        spool.fail(entry, f"manifest schema {manifest.get('schema')!r} is not known to this version")
        return Attempt(Action.FAIL)
    return _Delivery(spool, entry, manifest, transport, progress).run()


class _Delivery:
    """One attempt under way."""

    def __init__(
        self,
        spool: Spool,
        entry: SealedEpisode,
        manifest: dict[str, Any],
        transport: Transport,
        progress: Progress | None,
    ) -> None:
        self._spool = spool
        self._entry = entry
        self._manifest = manifest
        self._transport = transport
        self._progress = progress
        self._state = _state_for(entry, transport)
        self._urls: dict[str, str] = {}
        self._sent = 0
        self._store: str | None = None

    def run(self) -> Attempt:
        try:
            self._upload()
            reach("upload.before_finalize")
            episode = self._state["episode_id"]
            answer = _step("finalize", lambda: finalize_episode(self._transport, episode, _finalize(self._manifest)))
            reach("upload.after_finalize")
            verdict = self._send_verdict(episode)
        except _StepError as failure:
            return self._after(failure)
        receipt = {
            "uuid": self._entry.uuid,
            "episode_id": episode,
            "status": answer.get("status"),
            "delivered_unix_s": int(time.time()),
            "bytes": sum(artifact["size"] for artifact in self._manifest["artifacts"]),
            **({} if verdict is None else {"verdict": verdict}),
        }
        self._spool.finish(self._entry, receipt)
        return Attempt(None, bytes_sent=self._sent, store=self._store)

    def _upload(self) -> None:
        state = self._state
        missing = [artifact for artifact in self._manifest["artifacts"] if artifact["kind"] not in state["uploaded"]]
        if "episode_id" in state and not missing:
            return
        reach("upload.before_create")
        answer = _step(
            "create",
            lambda: create_episode(self._transport, _create(self._manifest), idempotency_key=self._entry.uuid),
        )
        reach("upload.after_create")
        state["episode_id"] = answer["episode_id"]
        self._note()
        if answer.get("storage") == "unconfigured":
            return
        self._urls = {item["kind"]: item["url"] for item in answer["upload_urls"]}
        for artifact in missing:
            self._put(artifact)

    def _put(self, artifact: dict[str, Any]) -> None:
        kind = artifact["kind"]
        path = self._entry.folder / artifact["file"]
        while True:
            if kind not in self._urls:
                raise _StepError("put", RobotraceError(f"the deployment gave no URL for {kind}"))
            self._store = host_of(self._urls[kind])
            reach("upload.before_put")
            try:
                sent = _step("put", lambda: self._send(self._urls[kind], path, artifact["content_type"]))
                break
            except _StepError as failure:
                self._urls = self._signed_again(failure)
        reach("upload.after_put")
        self._sent += sent
        self._state["uploaded"].append(kind)
        self._note()

    def _send(self, url: str, path: Path, content_type: str) -> int:
        return self._transport.put_file(url, path, content_type, progress=self._progress)

    def _signed_again(self, failure: _StepError) -> dict[str, str]:
        """Fresh URLs at once, after the first refusal of a signature: most are expired ones."""
        if not is_about_the_signature(failure.error) or self._state["recreates"] >= 1:
            raise failure
        self._state["recreates"] += 1
        self._note()
        try:
            return sign_uploads(self._transport, self._state["episode_id"])
        except (RobotraceError, OSError):  # a deployment that cannot: create says it again, in the next attempt
            raise failure from None

    def _send_verdict(self, episode: str) -> str | None:
        """After finalize, what running the episode again came to; no refusal of it is one of the episode.

        Returns:
            ``stored``, or why it is not; None where there is none.
        """
        report = self._entry.verdict()
        if report is None or "verdict" in self._state:
            return self._state.get("verdict")
        tries = self._state["verdict_tries"] = self._state.get("verdict_tries", 0) + 1
        reach("upload.before_verdict")
        try:
            _step("verdict", lambda: push_verdict(self._transport, episode, report))
            self._state["verdict"] = "stored"
        except _StepError as failure:
            if decide("verdict", failure.error) is Action.RETRY and tries < _MAX_VERDICT_TRIES:
                raise
            self._state["verdict"] = described(failure.error)
        except ValueError as exc:  # a file that is none of ours: NaN, which JSON has no name for
            self._state["verdict"] = str(exc)
        reach("upload.after_verdict")
        self._note()
        return str(self._state["verdict"])

    def _note(self) -> None:
        self._spool.write_upload_state(self._entry, self._state)

    def _after(self, failure: _StepError) -> Attempt:
        if not self._entry.folder.exists():  # someone deleted the spool: there is nothing left to deliver
            return Attempt(Action.RETRY, failure.error, self._sent, failure.step, self._store)
        state = self._state
        action = decide(failure.step, failure.error)
        if action is Action.RECREATE:
            state["recreates"] += 1
            state["uploaded"] = [] if failure.step == "finalize" else state["uploaded"]
            action = Action.RETRY if state["recreates"] <= _MAX_RECREATES else Action.FAIL
        text = f"{failure.step}: {described(failure.error)}"
        if action is Action.FAIL:
            self._spool.fail(self._entry, text)
        else:
            state["last_error"] = text
            self._note()
        return Attempt(action, failure.error, self._sent, failure.step, self._store)


def _state_for(entry: SealedEpisode, transport: Transport) -> dict[str, Any]:
    # An episode half sent to one deployment starts anew when the key points to another. The URL itself stays out
    # of the file.
    deployment = hashlib.sha256(transport.base_url.encode()).hexdigest()[:16]
    state = entry.upload_state()
    if state.get("deployment") != deployment:
        state = {"deployment": deployment, "attempts": 0, "uploaded": [], "recreates": 0}
    state["attempts"] += 1
    return state


def _step(step: Step, request: Callable[[], Any]) -> Any:
    try:
        return request()
    except (RobotraceError, OSError) as exc:
        raise _StepError(step, exc) from exc


def _create(manifest: dict[str, Any]) -> dict[str, Any]:
    create: dict[str, Any] = manifest["create"]
    metadata = {"client_episode_id": manifest["uuid"], **create.get("metadata", {})}
    return {**create, "metadata": metadata}


def _finalize(manifest: dict[str, Any]) -> dict[str, Any]:
    artifacts = [{key: artifact[key] for key in ("kind", "size", "sha256")} for artifact in manifest["artifacts"]]
    return {**manifest["finalize"], "artifacts": artifacts}
