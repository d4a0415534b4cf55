"""Whatever a notebook holds, reading it to the end gives findings, never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nb2pipe.findings import CODES
from nb2pipe.notebook.model import Cell, Notebook
from nb2pipe.notebook.parameters import parameters
from nb2pipe.notebook.surface import surface
from nb2pipe.notebook.tags import layout
from nb2pipe.notebook.vocabulary import TAGS, parse_tags
from nb2pipe.options import Options

WORDS = [*TAGS, "block", "prev", "limit", "stpe", "imports", "same_step_1", "annotation", "a", "b", "é", ""]
TAG = st.builds(
    ":".join, st.lists(st.sampled_from([*WORDS, "1", "4Gi", "A=b", "2h", "off", "a-b", "minimize", " "]), max_size=4)
)
SOURCE = st.lists(
    st.sampled_from(
        [
            "x = 1  # tune: int(1, 5)",
            "x = 0.5 # tune: uniform(0, 1",
            'y = \'a\' #@param ["a"] {type:"slider", min:0}',
            "#| step: a",
            "#| after: a, b",
            "#| tags: [skip",
            "!echo $x {y}",
            "x = !ls",
            "x.grep('a')",
            "%%capture x",
            "%env A={x}",
            "(",
            "'''",
            "del x",
            "x: int = -1",
            "x = (1, {2})",
        ]
    ),
    max_size=5,
).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.sampled_from(["code", "code", "markdown"]), SOURCE, st.lists(TAG, max_size=3)), max_size=6
    )
)
def test_the_whole_way(cells: list[tuple[str, str, list[str]]]) -> None:
    made = tuple(
        Cell(i, f"c{i}", kind, source, parse_tags(tags, source))  # type: ignore[arg-type]
        for i, (kind, source, tags) in enumerate(cells)
    )
    laid = layout(notebook := Notebook("nb.ipynb", made, {}), Options())
    lines = surface(notebook, laid)
    found, problems = parameters(lines, laid)
    assert len(laid.roles) == len(made)
    assert sorted(laid.step_of) == [i for i, role in enumerate(laid.roles) if role == "step"]
    assert sorted(i for step in laid.steps for i in step.cells) == sorted(laid.step_of)
    assert [c.cell.index for c in lines] == [c.index for c in made if c.kind == "code"]
    assert all(laid.roles[p.cell] == "parameters" for p in found)
    for f in [*laid.findings, *problems, *(f for c in lines for f in c.findings)]:
        assert f.code in CODES
        assert f.message
        assert f.hint
        assert f.line is None or f.cell is None or 1 <= f.line <= made[f.cell].source.count("\n") + 1
