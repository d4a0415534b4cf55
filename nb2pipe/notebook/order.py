"""Whether the saved execution counts tell of another order than the one the cells stand in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Layout, Notebook


def order_findings(notebook: Notebook, layout: Layout) -> Iterator[Finding]:
    """A note at the first cell that was last run after one that stands below it; what is skipped does not count.

    A third of the notebooks with counts are saved like this: the outputs in them may be those of that order.
    """
    counted = [
        (cell.index, cell.execution_count)
        for cell, role in zip(notebook.cells, layout.roles, strict=True)
        if cell.kind == "code" and role != "skip" and cell.execution_count is not None
    ]
    for (above, first), (below, second) in pairwise(counted):
        if second <= first:
            message = (
                f"Cell {above} [{first}] was last run after cell {below} [{second}], which stands below it: "
                "a pipeline runs the cells from top to bottom"
            )
            yield finding("run-order", message, cell=above, line=1)
            return
