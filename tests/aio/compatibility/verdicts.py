"""What the outcome of a probe says of a loop, beside that on asyncio's own."""

from __future__ import annotations

import ast
import re
from typing import Any

WORKS, NOT_HERE = "works", "not here"
# From best to worst.
WORDS = (WORKS, "differs", "missing", "fails", "hangs", "crashes")
# How one learns that something is not there, and what.
MISSING = re.compile(
    r"(?:has no attribute|unexpected keyword argument) '(\w+)'|unexpected kwargs: (.+)"
)
LENGTH = 70


def verdict(outcome: dict[str, Any] | None, reference: dict[str, Any] | None) -> tuple[str, str]:
    """Return a word of WORDS, or NOT_HERE for what this Python is too old for; and a reason."""
    if outcome is None or reference is None:
        return NOT_HERE, ""
    if "ended" in outcome:
        word, _, reason = outcome["ended"].partition(": ")
        return word, reason
    if "raised" in outcome:
        name, text = outcome["raised"], outcome["text"]
        if name == "NotImplementedError":
            return "missing", ""
        if missing := MISSING.search(text):
            return "missing", missing[1] or missing[2]
        return "fails", shortened(text if name == "AssertionError" else f"{name}: {text}")
    if "returned" not in reference:  # asyncio's own does worse
        return WORKS, ""
    if outcome["returned"] != reference["returned"]:
        return "differs", difference(outcome["returned"], reference["returned"])
    if outcome["unhandled"] != reference["unhandled"]:
        ours, theirs = (", ".join(found["unhandled"]) for found in (outcome, reference))
        return "differs", f"goes unhandled: {ours or 'nothing'}, not {theirs or 'nothing'}"
    return WORKS, ""


def difference(ours: str, theirs: str) -> str:
    """Say where two results differ, of which there is what repr() made of them."""
    try:
        one, other = ast.literal_eval(ours), ast.literal_eval(theirs)
    except (SyntaxError, ValueError):
        pass
    else:
        while isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
            pairs = [pair for pair in zip(one, other) if pair[0] != pair[1]]
            if len(one) != len(other) or not pairs:
                break
            one, other = pairs[0]
        ours, theirs = repr(one), repr(other)
    return f"{shortened(ours)}, not {shortened(theirs)}"


def shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LENGTH else text[: LENGTH - 3] + "..."
