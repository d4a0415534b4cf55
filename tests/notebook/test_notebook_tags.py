"""Tags: the table, directives, dialects, near misses, contradictions, and the layout they give."""

from __future__ import annotations

from typing import Any

import pytest

from nb2pipe.notebook.model import Cell, Layout, Notebook, Resources, Secret
from nb2pipe.notebook.tags import layout
from nb2pipe.notebook.vocabulary import TAGS, parse_tags, read_tag
from nb2pipe.options import Options


def code(*tags: str, source: str = "x = 1") -> tuple[str, str, tuple[str, ...]]:
    return ("code", source, tags)


def text(*tags: str) -> tuple[str, str, tuple[str, ...]]:
    return ("markdown", "# T", tags)


def laid(*cells: tuple[str, str, tuple[str, ...]], metadata: Any = None, strict: bool = False) -> Layout:
    made = tuple(
        Cell(i, f"c{i}", kind, source, parse_tags(tags, source))  # type: ignore[arg-type]
        for i, (kind, source, tags) in enumerate(cells)
    )
    return layout(Notebook("nb.ipynb", made, metadata or {}), Options(strict=strict))


def codes(result: Layout) -> list[str]:
    return [f.code for f in result.findings]


def test_roles() -> None:
    result = laid(
        text(),
        code(),
        code("parameters"),
        code("shared"),
        code(),
        code("step:load"),
        code(),
        text(),
        code("skip"),
        code(),
        code("step:train"),
        code("metrics"),
        code("objective:minimize:rmse"),
        code("gpu:1"),
        code("hide-input"),
        code("step:load"),
    )
    roles = "text setup parameters shared setup step step text skip step step step step step step step"
    assert result.roles == tuple(roles.split())
    assert [(s.name, s.cells) for s in result.steps] == [("load", (5, 6, 9, 15)), ("train", (10, 11, 12, 13, 14))]
    assert result.step_of[9] == "load"
    assert result.step_of[15] == "load"
    assert result.metrics == frozenset({11})
    assert [(o.goal, o.name, o.cell) for o in result.objectives] == [("minimize", "rmse", 12)]
    assert result.steps[1].resources.accelerators == 1
    assert not result.findings


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["cpu:4"], Resources(cpu="4")),
        (["cpu:0.5"], Resources(cpu="0.5")),
        (["cpu:500m"], Resources(cpu="0.5")),
        (["memory:16Gi"], Resources(memory="16Gi")),
        (["gpu:1"], Resources(accelerator="nvidia.com/gpu", accelerators=1)),
        (["gpu:nvidia-l4:2"], Resources(accelerator="nvidia-l4", accelerators=2)),
        (["gpu:nvidia-l4"], Resources(accelerator="nvidia-l4", accelerators=1)),
        (["image:gcr.io/a/b:1.2@sha256:ab"], Resources(image="gcr.io/a/b:1.2@sha256:ab")),
        (["retries:3"], Resources(retries=3)),
        (["retries:0"], Resources(retries=0)),
        (["timeout:2h"], Resources(timeout=7200)),
        (["timeout:90m"], Resources(timeout=5400)),
        (["timeout:45s"], Resources(timeout=45)),
        (["timeout:1h30m"], Resources(timeout=5400)),
        (["cache:off"], Resources(cache=False)),
        (["cache:on"], Resources(cache=True)),
        (["env:A=b=c:d", "env:B="], Resources(env=(("A", "b=c:d"), ("B", "")))),
        (["secret:db:key:DB_KEY"], Resources(secrets=(Secret("db", "key", "DB_KEY"),))),
        (["limit:nvidia.com/gpu:2"], Resources(accelerator="nvidia.com/gpu", accelerators=2)),
        (["limit:cpu:2", "limit:memory:4Gi"], Resources(cpu="2", memory="4Gi")),
        ([" cpu : 4 "], Resources(cpu="4")),
    ],
)
def test_resources(tags: list[str], expected: Resources) -> None:
    result = laid(code("step:a", *tags))
    assert result.steps[0].resources == expected
    assert not result.findings


@pytest.mark.parametrize(
    "tag",
    "cpu:many cpu:0 cpu: memory:16GB memory:lots memory:0Gi gpu:x:y gpu: gpu:1:2 image: image:a|b retries:-1 retries:x"
    " timeout:2 timeout:0s timeout: cache:maybe env:A env:1=2 secret:a:b secret:a:b:1c workers:0 workers:two"
    " objective:best:x objective:minimize: objective:minimize:a-b runner:spark after:Bad skip:now parameters:x".split(),
)
def test_bad_values(tag: str) -> None:
    result = laid(code("step:a") if tag.startswith("skip") else code("step:b"), code(tag))
    found = [f for f in result.findings if f.code == "bad-tag"]
    assert [(f.cell, f.name) for f in found] == [(1, tag)]
    assert "`" in found[0].hint


def test_every_example_of_the_table_is_good() -> None:
    for name, spec in TAGS.items():
        others = [] if name in ("step", "parameters", "shared", "skip") else ["step:a"]
        result = laid(code("step:load"), code("step:a"), code(*others, spec.example))
        assert not result.findings, spec.example
        assert read_tag(spec.example).kind == name


@pytest.mark.parametrize(
    ("source", "tags", "lines"),
    [
        ("#| step: train\n#| gpu: 1\nx = 1", ["step:train", "gpu:1"], [1, 2]),
        ("\n# a comment\n#|step:train\nx = 1", ["step:train"], [3]),
        ("#| skip", ["skip"], [1]),
        ('#| tags: [step:train, "metrics"]', ["step:train", "metrics"], [1, 1]),
        ("x = 1\n#| step: train", [], []),
        ("#| label: fig-1\n#| echo: false\n#| export\n#| code-fold: true", [], []),
        ("# | step: train", [], []),
        ("'''\n#| step: a\n'''", [], []),
    ],
)
def test_directives(source: str, tags: list[str], lines: list[int]) -> None:
    found = parse_tags((), source)
    assert [t.kind + (":" + t.value if t.value else "") for t in found] == tags
    assert [t.line for t in found] == lines


@pytest.mark.parametrize(
    ("tag", "right"),
    [
        ("setp:train", "step:train"),
        ("Step:train", "step:train"),
        ("steps:train", "step:train"),
        ("step=train", "step:train"),
        ("step train", "step:train"),
        ("step-train", "step:train"),
        ("step_1", "step:step_1"),
        ("paramters", "parameters"),
        ("Parameters", "parameters"),
        ("parameter", "parameters"),
        ("SKIP", "skip"),
        ("skipp", "skip"),
        ("share", "shared"),
        ("metric", "metrics"),
        ("memmory:4Gi", "memory:4Gi"),
        ("time-out:2h", "timeout:2h"),
        ("retry:3", "retries:3"),
        ("objectiv:minimize:x", "objective:minimize:x"),
        ("nb2pipe:skip", "skip"),
        ("blok:train", "block:train"),
    ],
)
def test_near_misses(tag: str, right: str) -> None:
    result = laid(code("step:a"), code(tag))
    found = [f for f in result.findings if f.code == "unknown-tag"]
    assert len(found) == 1
    assert found[0].severity == "error"
    assert f"`{right}`" in found[0].hint


@pytest.mark.parametrize(
    "tag",
    "hide-input remove-cell raises-exception nbval-skip flake8-noqa author:jane chapter:2 important todo stepwise test"
    " export setup thebe-init injected slideshow no_execute type:slide image-classification env-setup cpu-only".split(),
)
def test_tags_of_others_are_left_alone(tag: str) -> None:
    assert not laid(code("step:a", tag)).findings


@pytest.mark.parametrize(
    ("cell", "code_"),
    [
        (code("step:a", "step:b"), "contradicting-tags"),
        (code("step:a", "skip"), "contradicting-tags"),
        (code("step:a", "parameters"), "contradicting-tags"),
        (code("shared", "skip"), "contradicting-tags"),
        (code("skip", "metrics"), "contradicting-tags"),
        (code("shared", "gpu:1"), "contradicting-tags"),
        (code("step:a", source="#| step: b\nx"), "contradicting-tags"),
        (code("step:a", "cpu:1", "cpu:2"), "contradicting-tags"),
        (code("step:a", "env:A=1", "env:A=2"), "contradicting-tags"),
        (code("step:a", "workers:1", "workers:2"), "contradicting-tags"),
        (code("gpu:1"), "tag-without-step"),
        (code("metrics"), "tag-without-step"),
        (code("step:a", "annotation:x:y"), "tag-not-carried"),
        (code("step:a", "limit:tpu:1"), "tag-not-carried"),
        (code("step:"), "bad-step-name"),
        (code("step"), "bad-step-name"),
        (code("step:Train"), "bad-step-name"),
        (code("step:1st"), "bad-step-name"),
        (code("step:_x"), "bad-step-name"),
        (code("step:a b"), "bad-step-name"),
        (code("step:../x"), "bad-step-name"),
        (code("step:" + "a" * 64), "bad-step-name"),
        (code("step:class"), "bad-step-name"),
        (code("step:shared"), "bad-step-name"),
        (code("step:task"), "bad-step-name"),
        (code("step:é"), "bad-step-name"),
        (text("step:a"), "tag-on-text"),
    ],
)
def test_findings(cell: Any, code_: str) -> None:
    result = laid(cell, code("step:z"))
    assert codes(result) == [code_]
    assert result.findings[0].cell == 0


@pytest.mark.parametrize(
    "cell",
    [
        code("step:a", source="#| step: a\nx"),
        code("step:load-data", source="#| step: load_data\nx"),
        code("step:a", "cpu:1", source="#| cpu: 1\nx"),
        code("step:a", "env:A=1", "env:B=2", "secret:a:b:C", "secret:a:d:E"),
        code("step:a", "metrics", "workers:2", "runner:dataflow"),
        code("step:eval"),
        code("step:" + "a" * 63),
    ],
)
def test_no_findings(cell: Any) -> None:
    assert not laid(cell).findings


def test_resources_of_two_cells_of_a_step() -> None:
    assert codes(laid(code("step:a", "cpu:1"), code("cpu:2"))) == ["contradicting-tags"]
    assert not codes(laid(code("step:a", "cpu:1"), code("step:b", "cpu:2")))


def test_hyphen_is_underscore() -> None:
    result = laid(code("step:load-data"), code("step:train", "after:load-data"), code("step:load_data"))
    assert [(s.name, s.cells, s.after) for s in result.steps] == [
        ("load_data", (0, 2), ()),
        ("train", (1,), ("load_data",)),
    ]


def test_after() -> None:
    result = laid(
        code("step:a"), code("step:b"), code("step:c", "after:a", "after:b"), code(source="#| after: a, b\nx")
    )
    assert result.steps[2].after == ("a", "b")
    assert not result.findings


@pytest.mark.parametrize(
    ("afters", "expected"),
    [
        ({"a": "x"}, "unknown-step"),
        ({"a": "a"}, "step-cycle"),
        ({"a": "b", "b": "a"}, "step-cycle"),
        ({"a": "c", "b": "a", "c": "b"}, "step-cycle"),
        ({"a": "c"}, None),
        ({"b": "a", "c": "b"}, None),
    ],
)
def test_order(afters: dict[str, str], expected: str | None) -> None:
    cells = [code(f"step:{n}", *([f"after:{afters[n]}"] if n in afters else [])) for n in "abc"]
    assert codes(laid(*cells)) == ([expected] if expected else [])


def test_no_steps() -> None:
    assert codes(laid(code(), text())) == ["no-steps"]
    assert codes(laid()) == ["no-steps"]
    assert "nb2pipe tag" in laid().findings[0].hint


def test_kale() -> None:
    result = laid(
        code("imports"),
        code("functions"),
        code("pipeline-parameters"),
        code("block:load"),
        code("block:train", "prev:load", "limit:nvidia.com/gpu:1"),
        code("skip"),
        code("step:eval", "prev:train"),
        code("pipeline-metrics"),
        metadata={"kubeflow_notebook": {"steps_defaults": ["limit:memory:4Gi", "label:a:b"]}},
    )
    assert result.roles == ("shared", "shared", "parameters", "step", "step", "skip", "step", "step")
    assert [(s.name, s.after) for s in result.steps] == [("load", ()), ("train", ("load",)), ("eval", ("train",))]
    assert result.steps[1].resources == Resources(memory="4Gi", accelerator="nvidia.com/gpu", accelerators=1)
    assert result.metrics == frozenset({7})
    assert codes(result) == ["tag-not-carried"]


def test_other_dialects() -> None:
    result = laid(code("same_step_1"), code("display"), code("same_step_2"), code("injected-parameters"))
    assert result.roles == ("step", "skip", "step", "parameters")
    assert [s.name for s in result.steps] == ["same_step_1", "same_step_2"]


def test_strict_wants_a_tag_on_every_cell() -> None:
    cells = (code("step:a"), code(), code("metrics"), code(source=" \n"))
    assert [(f.code, f.cell) for f in laid(*cells, strict=True).findings] == [("tag-without-step", 1)]
    assert not laid(*cells).findings
