"""Where the files of a dataset are: in a folder, or on the hub."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from robotrace.deliver.files import is_disk_full
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["DatasetFiles", "find_files"]

_INFO = "meta/info.json"
_REPO_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


class DatasetFiles(Protocol):
    """The files of one dataset.

    Attributes:
        name: What people call it.
        identity: What it is known by when it is imported again.
        revision: The commit; None of a folder.
    """

    name: str
    identity: str
    revision: str | None

    def get(self, path: str) -> Path:
        """A file of the dataset on this machine, fetched where it has to be.

        Raises:
            RobotraceError: It is missing, or cannot be fetched.
        """

    def under(self, folder: str) -> list[str]:
        """The paths of the files in a folder of the dataset, and in those below it."""


def find_files(repo_id_or_path: str | Path, revision: str | None) -> DatasetFiles:
    """A dataset's files: of a folder; else of LeRobot's own cache, where it is there; else of the hub.

    Args:
        repo_id_or_path: A folder with ``meta/info.json``, or ``org/name``.
        revision: A branch, tag or commit of the hub.

    Raises:
        ConfigurationError: It is neither.
        RobotraceError: The hub refused something, or cannot be reached.
    """
    folder = Path(repo_id_or_path).expanduser()
    if (folder / _INFO).is_file():
        return _Folder(folder, folder.resolve().name)
    name = str(repo_id_or_path)
    if folder.exists() or not _REPO_ID.fullmatch(name):
        raise ConfigurationError(f"{name} is no LeRobot dataset: there is no {_INFO} in it")
    cached = _lerobot_home() / name
    if revision is None and (cached / _INFO).is_file():
        return _Folder(cached, name)
    return _Hub(name, revision)


def _lerobot_home() -> Path:
    if home := os.environ.get("HF_LEROBOT_HOME"):
        return Path(home).expanduser()
    hugging_face = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(hugging_face).expanduser() / "lerobot"


def _checked(path: str) -> PurePosixPath:
    # Paths come out of the dataset's own templates, and a dataset out of the internet.
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise RobotraceError(f"the dataset's path {path!r} leads out of it")
    return relative


class _Folder:
    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.identity = str(root.resolve())
        self.revision: str | None = None
        self._root = root

    def get(self, path: str) -> Path:
        found = self._root / _checked(path)
        if not found.is_file():
            raise RobotraceError(f"{path} is missing")
        return found

    def under(self, folder: str) -> list[str]:
        return sorted(
            path.relative_to(self._root).as_posix() for path in (self._root / folder).rglob("*") if path.is_file()
        )


class _Hub:
    def __init__(self, repo_id: str, revision: str | None) -> None:
        import huggingface_hub.utils

        self.name = repo_id
        self.identity = f"hub:{repo_id}"
        self._hub: Any = huggingface_hub
        with self._asking(f"{repo_id} on the hub"):
            # One commit for all files, whatever is pushed meanwhile.
            info = huggingface_hub.HfApi().repo_info(repo_id, repo_type="dataset", revision=revision)
        self.revision = info.sha
        self._paths: list[str] | None = None

    def get(self, path: str) -> Path:
        with self._asking(f"{path} of {self.name}"):
            return Path(
                self._hub.hf_hub_download(
                    self.name, _checked(path).as_posix(), repo_type="dataset", revision=self.revision
                )
            )

    def under(self, folder: str) -> list[str]:
        if self._paths is None:
            with self._asking(f"{self.name} on the hub"):
                self._paths = self._hub.HfApi().list_repo_files(self.name, repo_type="dataset", revision=self.revision)
        return sorted(path for path in self._paths or () if path.startswith(f"{folder}/"))

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        errors = self._hub.utils
        try:
            yield
        except errors.GatedRepoError as exc:
            raise RobotraceError(f"{what}: its owner has to let you in first; see its page on the hub") from exc
        except errors.RepositoryNotFoundError as exc:
            raise RobotraceError(f"{what}: there is none that is public, or that your token may read") from exc
        except errors.RevisionNotFoundError as exc:
            raise RobotraceError(f"{what}: there is no such revision") from exc
        except errors.LocalEntryNotFoundError as exc:
            raise RobotraceError(f"{what}: the hub cannot be reached") from exc
        except errors.EntryNotFoundError as exc:
            raise RobotraceError(f"{what} is missing") from exc
        except (RobotraceError, MemoryError):
            raise
        except Exception as exc:  # of the HTTP library, which is another one in each version
            if is_disk_full(exc):
                raise
            raise RobotraceError(f"{what}: the hub did not answer well: {' '.join(str(exc).split())}") from exc
