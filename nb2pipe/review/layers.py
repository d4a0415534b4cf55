"""A graph laid out in layers from left to right, wrapped like text where it is wider than a page. Pure geometry.

Layers by longest path; one chain of joints for everything that one source hands further than the next layer, so that a
much used value is one line and not twenty; fewer crossings by barycentres; heights by least squares in a fixed order.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Edges = Sequence[tuple[str, str]]
SWEEPS = 12
"""How often the order of the layers is bettered, from left to right and back."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """A node in its layer, or (`joint`) a point at which the line of `name` crosses a layer."""

    name: str
    layer: int
    joint: bool = False


@dataclass(frozen=True, slots=True)
class Layered:
    """The layers from left to right, each from top to bottom, and the segments between neighbouring layers with the
    nodes that each leads to."""

    layers: tuple[tuple[Vertex, ...], ...]
    segments: Mapping[tuple[Vertex, Vertex], tuple[str, ...]]


def layered(names: Sequence[str], edges: Edges) -> Layered:
    """The graph of `names` in layers; `edges` go from earlier names to later ones, any other is left out."""
    rank = {name: index for index, name in enumerate(names)}
    kept = [(a, b) for a, b in dict.fromkeys(edges) if a in rank and b in rank and rank[a] < rank[b]]
    depth = _depths(names, kept)
    segments = _segments(kept, depth)
    vertices = dict.fromkeys([*(Vertex(name, depth[name]) for name in names), *(v for pair in segments for v in pair)])
    layers: list[list[Vertex]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for vertex in sorted(vertices, key=lambda v: (rank[v.name], v.joint)):
        layers[vertex.layer].append(vertex)
    return Layered(tuple(map(tuple, _ordered(layers, segments))), segments)


def _depths(names: Sequence[str], edges: Edges) -> dict[str, int]:
    """The layer of each node: as far left as its sources allow, and sources of the graph beside their first user."""
    depth = dict.fromkeys(names, 0)
    sources: dict[str, list[str]] = {}
    users: dict[str, list[str]] = {}
    for a, b in edges:
        sources.setdefault(b, []).append(a)
        users.setdefault(a, []).append(b)
    for name in names:
        depth[name] = max((depth[a] + 1 for a in sources.get(name, ())), default=0)
    for name in reversed(names):
        if name not in sources and name in users:
            depth[name] = min(depth[b] for b in users[name]) - 1
    return depth


def _segments(edges: Edges, depth: Mapping[str, int]) -> dict[tuple[Vertex, Vertex], tuple[str, ...]]:
    found: dict[tuple[Vertex, Vertex], tuple[str, ...]] = {}
    for a, b in edges:
        chain = [Vertex(a, depth[a]), *(Vertex(a, level, joint=True) for level in range(depth[a] + 1, depth[b]))]
        for pair in zip(chain, [*chain[1:], Vertex(b, depth[b])], strict=True):
            found[pair] = (*found.get(pair, ()), b)
    return found


def _ordered(layers: list[list[Vertex]], segments: Iterable[tuple[Vertex, Vertex]]) -> list[list[Vertex]]:
    """The layers in the order with the fewest crossings that was found."""
    before, after = neighbours(segments)
    best, fewest = layers, crossings(layers, after)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        layers = [list(layer) for layer in layers]
        for index in range(len(layers)) if forward else reversed(range(len(layers))):
            beside = index - 1 if forward else index + 1
            if 0 <= beside < len(layers):
                layers[index] = _by_barycentre(layers[index], layers[beside], before if forward else after)
        count = crossings(layers, after)
        if count < fewest:
            best, fewest = layers, count
    return best


Neighbours = Mapping[Vertex, Sequence[Vertex]]


def neighbours(segments: Iterable[tuple[Vertex, Vertex]]) -> tuple[Neighbours, Neighbours]:
    """What lies left and what lies right of each vertex."""
    before: dict[Vertex, list[Vertex]] = {}
    after: dict[Vertex, list[Vertex]] = {}
    for a, b in segments:
        before.setdefault(b, []).append(a)
        after.setdefault(a, []).append(b)
    return before, after


def _by_barycentre(layer: Sequence[Vertex], beside: Sequence[Vertex], linked: Neighbours) -> list[Vertex]:
    """The layer, each vertex near the middle of what it is linked to; one that is not linked keeps its place."""
    place = {vertex: index for index, vertex in enumerate(beside)}
    scale = len(beside) / max(len(layer), 1)

    def centre(entry: tuple[int, Vertex]) -> float:
        index, vertex = entry
        others = [place[other] for other in linked.get(vertex, ())]
        return sum(others) / len(others) if others else index * scale

    return [vertex for _, vertex in sorted(enumerate(layer), key=centre)]


def crossings(layers: Sequence[Sequence[Vertex]], after: Neighbours) -> int:
    """How many pairs of segments cross."""
    count = 0
    for left, right in itertools.pairwise(layers):
        place = {vertex: index for index, vertex in enumerate(right)}
        seen: list[int] = []
        for vertex in left:
            ends = sorted(place[other] for other in after.get(vertex, ()))
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def settled(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Positions in the given order, `gaps[i]` apart at least between i and i + 1, that are nearest to `wanted`.

    >>> settled([5.0, 5.0, 20.0], [4.0, 4.0])
    [3.0, 7.0, 20.0]
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, int]] = []  # (mean, size) of runs that must stand as close as they may
    for want, offset in zip(wanted, offsets, strict=False):
        mean, size = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            last, count = blocks.pop()
            mean, size = (last * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
