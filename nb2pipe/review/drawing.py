"""The graph of a pipeline as boxes and lines with coordinates, for an SVG that fits the width of a page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nb2pipe.review.layers import Edges, Layered, Vertex, layered, neighbours, settled

WIDTH, HEIGHT = 150, 46
"""Of a box."""
GAP_X, GAP_Y, JOINT = 40, 16, 10
"""Between layers, between boxes, and the height that a line takes that only passes."""
LANE, BAND = 7, 34
"""Between lines that turn into the next row of layers, and between those rows at least."""
COLUMNS = 6
"""Layers side by side."""
ROUNDS = 10
MARGIN = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its name and its upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """A part of the lines from `source` to `targets`: an SVG path."""

    source: str
    targets: tuple[str, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole; `arrows` are the tips of the boxes that something leads to."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    arrows: tuple[tuple[float, float], ...]


def drawing(names: Sequence[str], edges: Edges) -> Drawing:
    """The graph of `names`, in notebook order, with `edges` from earlier to later ones."""
    return _Sketch(layered(names, edges)).drawing()


class _Sketch:
    def __init__(self, graph: Layered) -> None:
        self.graph = graph
        count = len(graph.layers)
        rows = max(1, -(-count // COLUMNS))
        self.columns = max(1, -(-count // rows))
        self.rows = [range(start, min(start + self.columns, count)) for start in range(0, count, self.columns)]
        self.turns = [self._turning(row[-1]) for row in self.rows]
        self.widest = max([len(turn) for turn in self.turns[:-1]], default=0)
        self.left = MARGIN + (self.widest + 1) * LANE * bool(self.widest)
        self.y: dict[Vertex, float] = {}
        self.floors: list[float] = []

    def _turning(self, layer: int) -> list[str]:
        """The sources whose lines go on in the next row, those from the lowest vertices first."""
        ends = [a for a, _ in self.graph.segments if a.layer == layer]
        place = {vertex: index for index, vertex in enumerate(self.graph.layers[layer])}
        return [vertex.name for vertex in sorted(dict.fromkeys(ends), key=lambda v: -place[v])]

    def drawing(self) -> Drawing:
        top = float(MARGIN)
        for row, turn in zip(self.rows, self.turns, strict=True):
            self._place(row, top)
            low = max(self.y[v] + _height(v) / 2 for layer in row for v in self.graph.layers[layer])
            self.floors.append(low)
            top = low + max(BAND, (len(turn) + 2) * LANE + 10)
        boxes = [v for layer in self.graph.layers for v in layer if not v.joint]
        lines = [Line(a.name, targets, self._path(a, b)) for (a, b), targets in self.graph.segments.items()]
        lines += [Line(v.name, self._beyond(v), self._through(v)) for v in self.y if v.joint]
        reached = [b for b in dict.fromkeys(b for _, b in self.graph.segments) if not b.joint]
        return Drawing(
            self.left + self.columns * (WIDTH + GAP_X) - GAP_X + self.left,
            (self.floors[-1] if self.floors else 0) + MARGIN,
            tuple(Box(v.name, self._x(v), self.y[v] - HEIGHT / 2) for v in boxes),
            tuple(lines),
            tuple((self._x(b), self.y[b]) for b in reached),
        )

    def _beyond(self, joint: Vertex) -> tuple[str, ...]:
        ends = (targets for (a, _), targets in self.graph.segments.items() if a == joint)
        return tuple(dict.fromkeys(name for targets in ends for name in targets))

    def _x(self, vertex: Vertex) -> float:
        return self.left + (vertex.layer % self.columns) * (WIDTH + GAP_X)

    # --- heights ----------------------------------------------------------------------------------------------------
    def _place(self, row: range, top: float) -> None:
        """The middles of a row's vertices: near those they are linked to, in order, none over another."""
        inside = [(a, b) for a, b in self.graph.segments if a.layer in row and b.layer in row]
        before, after = neighbours(inside)
        layers = [self.graph.layers[index] for index in row]
        for layer in layers:
            self.y |= dict(zip(layer, settled([0.0] * len(layer), _gaps(layer)), strict=True))
        for number in range(ROUNDS):
            for layer in layers if number % 2 == 0 else reversed(layers):
                linked = before if number % 2 == 0 else after
                self._settle(layer, linked if number < ROUNDS - 2 else _both(before, after))
        low = min(self.y[v] - _height(v) / 2 for layer in layers for v in layer)
        for layer in layers:
            self.y |= {v: round(self.y[v] - low + top, 1) for v in layer}

    def _settle(self, layer: Sequence[Vertex], linked: Mapping[Vertex, Sequence[Vertex]]) -> None:
        wanted = []
        for vertex in layer:
            others = [self.y[other] for other in linked.get(vertex, ())]
            wanted.append(sum(others) / len(others) if others else self.y[vertex])
        self.y |= dict(zip(layer, settled(wanted, _gaps(layer)), strict=True))

    # --- lines ------------------------------------------------------------------------------------------------------
    def _path(self, a: Vertex, b: Vertex) -> str:
        """From the right of `a` to the left of `b`; into the next row around its end."""
        x1, y1, x2, y2 = self._x(a) + WIDTH, self.y[a], self._x(b), self.y[b]
        if a.layer // self.columns == b.layer // self.columns:
            middle = (x1 + x2) / 2
            return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
        row = a.layer // self.columns
        turn = self.turns[row]
        lane = turn.index(a.name)
        right = self.left + self.columns * (WIDTH + GAP_X) - GAP_X + (lane + 1) * LANE
        left = self.left - (lane + 1) * LANE
        between = self.floors[row] + (lane + 1) * LANE + 5
        return _rounded([(x1, y1), (right, y1), (right, between), (left, between), (left, y2), (x2, y2)])

    def _through(self, joint: Vertex) -> str:
        x = self._x(joint)
        return f"M{x:g} {self.y[joint]:g}H{x + WIDTH:g}"


def _both(
    one: Mapping[Vertex, Sequence[Vertex]], other: Mapping[Vertex, Sequence[Vertex]]
) -> Mapping[Vertex, Sequence[Vertex]]:
    return {vertex: (*one.get(vertex, ()), *other.get(vertex, ())) for vertex in {**one, **other}}


def _height(vertex: Vertex) -> float:
    return JOINT if vertex.joint else HEIGHT


def _gaps(layer: Sequence[Vertex]) -> list[float]:
    """How far the middles of neighbours must be apart."""
    return [
        (_height(a) + _height(b)) / 2 + (GAP_Y if not (a.joint and b.joint) else 2)
        for a, b in itertools.pairwise(layer)
    ]


def _rounded(points: Sequence[tuple[float, float]], radius: float = 6) -> str:
    """A path of horizontal and vertical lines with rounded corners."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near = [_towards(corner, other, radius) for other in (before, after)]
        parts.append(f"L{near[0][0]:g} {near[0][1]:g}Q{corner[0]:g} {corner[1]:g} {near[1][0]:g} {near[1][1]:g}")
    return "".join([*parts, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    """The point `distance` from `start` on the way to `end`, at most half of it."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = abs(dx) + abs(dy)
    part = min(distance, length / 2) / length if length else 0
    return round(start[0] + dx * part, 1), round(start[1] + dy * part, 1)
