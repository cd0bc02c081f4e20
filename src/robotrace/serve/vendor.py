"""The one module that knows where uPlot comes from.

uPlot 1.6.31 (MIT, https://github.com/leeoniya/uPlot) lies as two plain files in the wheel ``youplot``: no Node on the
user's machine and no third-party source in this repository. The files run in a browser that has the whole portal
open, so they are served only when they are byte for byte the ones that were reviewed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from robotrace.errors import ConfigurationError

__all__ = ["VENDOR_FILES", "VENDOR_LICENCES", "VendorFile", "vendor_file"]

_PACKAGE = "youplot"
_REINSTALL = "pip install --force-reinstall 'youplot==1.0.0'"


@dataclass(frozen=True)
class VendorFile:
    """One file served under ``/static/vendor/``.

    Args:
        path: Where it lies inside the ``youplot`` package.
        sha256: The digest of the reviewed file, hexadecimal.
        media_type: What it is served as.
    """

    path: str
    sha256: str
    media_type: str


VENDOR_FILES: dict[str, VendorFile] = {
    "uplot.js": VendorFile(
        "vendor/uplot.iife.min.js",
        "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
        "text/javascript",
    ),
    "uplot.css": VendorFile(
        "vendor/uplot.min.css",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        "text/css",
    ),
}


VENDOR_LICENCES: tuple[tuple[str, str, str], ...] = (("uPlot", "1.6.31", "MIT"),)
"""What is served to browsers and is not ours: name, version, licence."""


def _package_folder() -> Path:
    # find_spec reads where the package lies without running its code: only its files are wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the portal needs youplot: pip install 'robotrace-dev[server]'")
    return Path(next(iter(spec.submodule_search_locations)))


@lru_cache(maxsize=len(VENDOR_FILES))
def vendor_file(name: str) -> bytes:
    """The bytes of one vendored file, checked against the digest of the reviewed one.

    Args:
        name: A key of :data:`VENDOR_FILES`.

    Raises:
        ConfigurationError: The wheel is missing, or its file is not the reviewed one.
    """
    wanted = VENDOR_FILES[name]
    path = _package_folder() / wanted.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {_REINSTALL}") from error
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise ConfigurationError(f"{path} is not the file of youplot 1.0.0: {_REINSTALL}")
    return content
