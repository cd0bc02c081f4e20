"""Which names a deployment answers to, and where others reach it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from robotrace.errors import ConfigurationError

__all__ = ["checked_public_url", "host_name", "is_address", "is_loopback", "is_wildcard", "served_names"]

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether what listens there can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether it stands for every address of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_address(name: str) -> bool:
    """Whether a name of a Host header is an IP address; an IPv6 one has brackets there."""
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """The name in a Host header, without the port; an IPv6 address keeps its brackets."""
    name, bracket, _ = host.partition("]")
    return (name + bracket if bracket else host.partition(":")[0]).lower()


def checked_public_url(text: str) -> str:
    """A public URL as it is put in front of paths: scheme, name, port.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        parts = urlsplit(text.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{text!r} is no public URL: https://NAME or https://NAME:PORT, without a path")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def served_names(host: str, public_url: str | None) -> frozenset[str]:
    """The names in a Host header that are answered, besides addresses where :func:`is_wildcard` is true.

    Args:
        host: What the deployment listens on.
        public_url: Where others reach it.
    """
    names = {*_LOOPBACK_NAMES, f"[{host}]" if ":" in host else host.lower()}
    if public_url is not None:
        names.add(host_name(urlsplit(public_url).netloc))
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return frozenset(names)
