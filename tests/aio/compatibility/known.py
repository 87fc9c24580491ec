"""Where uvbind's loop is known to do other than asyncio's own, and why."""

KNOWN = {
    "Transport: a dropped one warns, and its socket is closed": (
        "one that is neither read from nor closed stays open until its loop is closed"
    ),
}
