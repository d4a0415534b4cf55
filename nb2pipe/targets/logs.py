"""What the log of a step on a cluster says of its end: the place in the notebook, and the error."""

from __future__ import annotations

import re
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FAILED = re.compile(r"\bstep (?P<step>\S+) failed(?: at cell (?P<cell>\d+) line (?P<line>\d+))?: (?P<why>.*)")
"""What a step that failed ends with: its task.py prints it, or raises it; that of a worker or a trial is told by the
step that started the job."""
RAISED = re.compile(r"[\w.]*(?:Error|Exception|Exit|Interrupt|Warning)(?::.*)?")
"""The last line of a traceback."""
CAUSE = "The above exception was the direct cause of the following exception:"


def failure_in(log: str) -> dict[str, Any] | None:
    """The `cell`, the `line` and the error, as `message`, of the log of a step that failed; None where it says nothing.

    >>> failure_in("ValueError: no rows\\nstep load failed at cell 3 line 2: check(rows)")
    {'cell': 3, 'line': 2, 'message': 'ValueError: no rows'}
    """
    lines = [COLOUR.sub("", line).strip() for line in log.splitlines() if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        match = FAILED.search(lines[number])
        if match:
            cell, line = match["cell"], match["line"]
            message = _error_before(lines[:number]) or match["why"]
            return {"cell": cell and int(cell), "line": line and int(line), "message": message}
    return None


def _error_before(lines: list[str]) -> str | None:
    """The last line of the traceback that stands directly above, or that of the cause of the one that is being told."""
    above = lines[-1:]
    if not above or not RAISED.fullmatch(above[0]):
        causes = [number for number, line in enumerate(lines) if line == CAUSE]
        above = lines[causes[-1] - 1 : causes[-1]] if causes else []
    return above[0] if above and RAISED.fullmatch(above[0]) else None
