"""An exception between any two lines of a verb: nothing crashes, hangs, leaks or is lost."""

from __future__ import annotations

import interrupted_datagrams
import interrupted_streams
from interrupted_lowlevel import SCENARIOS
from interrupted_world import play
from interrupting import check_scenario, interrupted

assert interrupted_datagrams and interrupted_streams  # they add to SCENARIOS


@interrupted(SCENARIOS)
def test_an_exception_at_any_line_loses_and_leaves_nothing(scenario, kind, record_property):
    assert check_scenario(play, scenario, kind, record_property) > 0
