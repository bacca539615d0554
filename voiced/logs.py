"""Logs: one line each, to standard error, without spoken text, paths or keys."""

from __future__ import annotations

import logging
import sys


def set_up(level: str) -> None:
    """Send this process's logs to standard error, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("voiced").setLevel(level.upper())
