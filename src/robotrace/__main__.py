"""``python -m robotrace``."""

from robotrace.cli import main

main()
