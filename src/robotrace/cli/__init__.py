"""The command line: ``robotrace …``; one module a command."""

from robotrace.cli.main import main

__all__ = ["main"]
