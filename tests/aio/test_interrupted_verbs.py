"""An exception between any two lines of uvbind's: the asyncio loop loses and leaves nothing."""

from __future__ import annotations

import interrupted_asyncio_endpoints
import interrupted_asyncio_transports
import pytest
from interrupted_asyncio import SCENARIOS
from interrupted_asyncio_world import play
from interrupting import check_scenario, interrupted

assert interrupted_asyncio_endpoints and interrupted_asyncio_transports  # they add to SCENARIOS


@pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning"
)  # a task was not
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its task is lost
@interrupted(SCENARIOS)
def test_an_exception_at_any_line_loses_and_leaves_nothing(scenario, kind, record_property):
    check_scenario(play, scenario, kind, record_property)
