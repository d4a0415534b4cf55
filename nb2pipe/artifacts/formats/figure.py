"""Figures: a picture or page for people, and a pickle that the next step goes on with."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nb2pipe.artifacts.format import Format, StaticTypes


def save_figure(value: Any, folder: Path) -> None:
    """Write figure.png (Matplotlib) or figure.html (Plotly), and the pickle."""
    (folder / "figure.pickle").write_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    if hasattr(value, "savefig"):
        value.savefig(folder / "figure.png")
    else:
        value.write_html(folder / "figure.html", include_plotlyjs="cdn")


def load_figure(folder: Path) -> Any:
    """Read what `save_figure` wrote."""
    return pickle.loads((folder / "figure.pickle").read_bytes())


FIGURE = Format(
    "figure",
    types=("matplotlib.Figure", "plotly.BaseFigure"),
    save=save_figure,
    load=load_figure,
    libraries=("matplotlib", "plotly"),
)

STATIC: StaticTypes = {
    "matplotlib.figure": ("Artifact", ("matplotlib",)),
    "plotly": ("HTML", ("plotly",)),
}
