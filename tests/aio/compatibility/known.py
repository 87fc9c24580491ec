"""Where uvbind's loop is known to do other than asyncio's own, and why."""

from __future__ import annotations

KNOWN: dict[str, str] = {}
