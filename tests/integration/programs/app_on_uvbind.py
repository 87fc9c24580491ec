"""The application for servers that leave the loop to asyncio's policy: one line changed."""

import uvbind

uvbind.install()

from app import app  # noqa: F401
