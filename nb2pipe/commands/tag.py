"""`nb2pipe tag`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nb2pipe.commands.speech import NOTEBOOK, Speech, common, load, sources
from nb2pipe.findings import errors


@click.command()
@NOTEBOOK
@common
def tag(speech: Speech, notebook: Path) -> int:
    """Show which cells belong to which step."""
    conversion = load(notebook)
    document = conversion.tags()
    speech.findings(conversion.layout.findings, sources(conversion))
    speech.document(document, tag_text(document))
    return 1 if errors(conversion.layout.findings) else 0


def tag_text(document: dict[str, Any]) -> str:
    """One line a cell."""
    rows = [(f"cell {c['cell']}", c["step"] or c["role"], ", ".join(c["tags"]) or c["why"]) for c in document["cells"]]
    widths = [max((len(r[i]) for r in rows), default=0) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
