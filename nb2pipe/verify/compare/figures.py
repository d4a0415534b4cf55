"""Figures: by the data in them and, where that is all the same, by how they are drawn."""

from __future__ import annotations

from typing import Any

from nb2pipe.verify.compare.outcome import Outcome, Within


def compare_matplotlib(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Figures of Matplotlib: the axes' texts, limits, lines, points, bars and pictures, then the pixels."""
    data = within([_axes(axes) for axes in a.axes], [_axes(axes) for axes in b.axes], f"{path}.axes")
    return data if data.verdict == "different" else within(_pixels(a), _pixels(b), f"{path} as drawn")


def _axes(axes: Any) -> dict[str, Any]:
    import numpy as np

    return {
        "title": axes.get_title(),
        "labels": (axes.get_xlabel(), axes.get_ylabel()),
        "limits": (tuple(map(float, axes.get_xlim())), tuple(map(float, axes.get_ylim()))),
        "lines": [np.asarray(line.get_xydata()) for line in axes.lines],
        "points": [np.asarray(one.get_offsets()) for one in axes.collections],
        "patches": [np.asarray(patch.get_path().vertices) for patch in axes.patches],
        "pictures": [np.asarray(picture.get_array()) for picture in axes.images],
        "texts": [text.get_text() for text in axes.texts],
    }


def _pixels(figure: Any) -> Any:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def compare_axes(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Axes of Matplotlib: with the figure that they are in."""
    return compare_matplotlib(a.figure, b.figure, f"{path}.figure", within)


def compare_plotly(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Figures of Plotly: the whole description."""
    return within(a.to_plotly_json(), b.to_plotly_json(), path)
