"""Magics -> Python: line for line, right by what the result does when it is run."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell
from nb2pipe.notebook.surface import pythonize, surface
from nb2pipe.notebook.surface.model import Magic
from nb2pipe.notebook.surface.text import expression, interpolated
from nb2pipe.notebook.vocabulary import parse_tags


def made(source: str, names: Any = None, index: int = 0) -> PyCell:
    cell = pythonize(Cell(index, f"c{index}", "code", source, parse_tags((), source)), names)
    assert len(cell.lines) == source.count("\n") + 1
    return cell


def found(cell: PyCell) -> list[str]:
    return [f"{f.code}:{f.severity}" for f in cell.findings if f.severity != "note"]


def ran(source: str, folder: Path, names: Any = None, **values: Any) -> tuple[str, dict[str, Any]]:
    """What the translated cell prints, and the names it leaves."""
    cell = made(source, names)
    assert not found(cell), cell.findings
    space: dict[str, Any] = dict(values)
    out = io.StringIO()
    with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else _folder(folder), contextlib.redirect_stdout(out):
        exec("\n".join([*cell.imports, cell.text]), space)
    return out.getvalue(), space


@contextlib.contextmanager
def _folder(folder: Path) -> Any:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "# only a comment",
        "x = (10\n  % 3\n  != 2)",
        "x = 10 \\\n  % 3",
        "s = '''\n%matplotlib inline\n!ls\n%%bash\n'''",
        "s = '%time x' # !ls\nt = \"!ls?\"",
        "x = a != b\ny = a %b",
        "await f()\nasync for x in y:\n    pass",
        "display(x)\nx;",
        "import os; os.getcwd()",
        "ls - 1\npwd",
        "time.time()\ncat = 1\nmv(1)",
        "def f():\n    '''is it?'''\n    return [\n        1,\n    ]",
        "x = '\\d'",
        "s = '''\nget_ipython().system('ls')\n'''",
    ],
)
def test_python_stays_as_it_is(source: str) -> None:
    cell = made(source)
    assert cell.text == source
    assert (cell.changes, cell.findings, cell.imports, cell.requirements) == ({}, (), (), ())


_PYLAB = "import numpy, numpy as np, matplotlib; from matplotlib import pylab, mlab, pyplot, pyplot as plt"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("%matplotlib inline\nx = 1", "\nx = 1"),
        ("%load_ext autoreload\n%autoreload 2", "\n"),
        ("%config InlineBackend.figure_format = 'retina'", ""),
        ("if x:\n    %matplotlib inline\nelse:\n    y = 1", "if x:\n    pass  # %matplotlib inline\nelse:\n    y = 1"),
        ("try:\n\t!pip install a\nexcept E:\n\tpass", "try:\n\tpass  # !pip install a\nexcept E:\n\tpass"),
        ("%%time\nx = 1\nprint(x)", "\nx = 1\nprint(x)"),
        ("\n# why\n%%time\nx = 1", "\n# why\n\nx = 1"),
        ("%%time\n%%capture\nx = 1", "\n\nx = 1"),
        ("%%timeit\nx = 1", "\n"),
        ("%%html\n<b>\n</b>", "\n\n"),
        ("%%javascript\nalert('", "\n"),
        ("%time x = f(1)", "x = f(1)"),
        ("%time f(1, \\\n  2)\ny", "f(1, \\\n  2)\ny"),
        ("y = %time f(1)", "y = f(1)"),
        ("%timeit f(1)", ""),
        ("for i in y:\n    %time f(i)", "for i in y:\n    f(i)"),
        ("df.head?", ""),
        ("?df\ndf??", "\n"),
        ("x = %pwd", "x = os.getcwd()"),
        ("%env A=1", 'os.environ["A"] = "1"'),
        ("%pylab inline --no-import-all", _PYLAB),
        ("%pylab", f"{_PYLAB}; from matplotlib.pylab import *; from numpy import *"),
        ("%env A 1", 'os.environ["A"] = "1"'),
        ("%set_env A x y", 'os.environ["A"] = "x y"'),
        ("v = %env A", 'v = os.environ["A"]'),
        ("%env A={x}/b", 'os.environ["A"] = f"{x}/b"'),
        ("%env A=$x", 'os.environ["A"] = f"{x}"'),
        ("%cd data", 'os.chdir("data")'),
        ("%cd -q 'my data'", 'os.chdir("my data")'),
        ("%cd", 'os.chdir(os.path.expanduser("~"))'),
        ("  x = 1\n  if x:\n    y = 2", "x = 1\nif x:\n  y = 2"),
        ("#| step: a\n#| gpu: 1\nx = 1\n#| note", "\n\nx = 1\n#| note"),
        ("#| export\n#| step: a\nx = 1", "#| export\n\nx = 1"),
        ("#| step: a\n%%time\nx = 1", "\n\nx = 1"),
        ("get_ipython().run_line_magic('matplotlib', 'inline')\nx = 1", "\nx = 1"),
        ("y = get_ipython().run_line_magic('pwd', '')", "y = os.getcwd()"),
        ("s = '''\n!ls\n'''\n%matplotlib", "s = '''\n!ls\n'''\n"),
        ("f(1,\n  2\n  % 3)\n%matplotlib", "f(1,\n  2\n  % 3)\n"),
        ("s = 'it\\'s' # (\n%matplotlib", "s = 'it\\'s' # (\n"),
        ("x = 1 + \\\n  2\n%matplotlib", "x = 1 + \\\n  2\n"),
        ("%%script false --no-raise-error\nx", "\n"),
        ("%%bigquery\nSELECT 1", "\n"),
    ],
)
def test_translated(source: str, expected: str) -> None:
    cell = made(source)
    assert cell.text == expected
    assert not found(cell)
    before = source.split("\n")
    assert set(cell.changes) == {n for n, line in enumerate(cell.lines, 1) if line != before[n - 1]}
    assert cell.findings or not source.startswith("%")


@pytest.mark.parametrize(
    ("source", "specs", "rest"),
    [
        ("!pip install a", ["a"], ""),
        ("!pip3 install -q -U a b==2 'c[x]>=1,<2'", ["a", "b==2", "c[x]>=1,<2"], ""),
        ("%pip install a>=1", ["a>=1"], ""),
        ("pip install a", ["a"], ""),
        ("!python -m pip install --user a", ["a"], ""),
        ("!python3.11 -m pip install a", ["a"], ""),
        ("!{sys.executable} -m pip install a", ["a"], ""),
        ("!sudo pip install a", ["a"], ""),
        ("!uv pip install a", ["a"], ""),
        ("%conda install -y -c conda-forge a", ["a"], ""),
        ("!conda install --yes a", ["a"], ""),
        ("!pip install a > /dev/null 2>&1", ["a"], ""),
        ("!pip install a 2>/dev/null | tail -n 1", ["a"], ""),
        ("!pip install a && pip install b; pip install c", ["a", "b", "c"], ""),
        ("!pip install a && echo done", ["a"], ""),
        ("!pip install git+https://x.y/z.git", ["git+https://x.y/z.git"], ""),
        ("!pip install \\\n  a \\\n  b", ["a", "b"], "\n\n"),
        ("!pip install a  # why", ["a"], ""),
        ("!pip list", [], ""),
        ("!pip freeze | grep a", [], ""),
    ],
)
def test_requirements(source: str, specs: list[str], rest: str) -> None:
    cell = made(source)
    assert [spec for spec, _ in cell.requirements] == specs
    assert all(line == 1 for _, line in cell.requirements)
    assert cell.text == rest
    assert not found(cell)


@pytest.mark.parametrize(
    ("source", "specs"),
    [
        ("!pip install -r requirements.txt a", ["a"]),
        ("!pip install -e .", []),
        ("!pip install ./dist/a.whl", []),
        ("!pip install --index-url https://x a", ["a"]),
        ("!pip install a=={v}", []),
        ("!pip uninstall -y a", []),
        ("!pip install 'a", []),
    ],
)
def test_requirements_that_are_lost_are_said(source: str, specs: list[str]) -> None:
    cell = made(source)
    assert [spec for spec, _ in cell.requirements] == specs
    assert set(found(cell)) == {"pip-option:warning"}


def test_output_of_pip() -> None:
    assert made("x = !pip install a").text == "x = []"
    assert found(made("x = !pip install a")) == ["pip-option:warning"]
    assert '["pip", "list"]' in made("x = !pip list").text


def test_command_after_pip_stays(tmp_path: Path) -> None:
    cell = made("!pip install a && touch f")
    assert cell.requirements == (("a", 1),)
    assert '"touch", "f"' in cell.text


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("!echo hi", "hi\n"),
        ("!echo 'a  b' \"c  d\" e", "a  b c  d e\n"),
        ("!printf 'a\\nb'", "a\nb"),
        ("!echo {n} $n {n + 1} {d['k']} {d[\"k\"]}", "3 3 4 v v\n"),
        ("!echo \"{s}\" '{s}' {s}", "a  b a  b a b\n"),
        ("!echo {opts} x", "x"),
        ("!echo '$n'", "$n\n"),
        ("!echo $$n {{x}}", "{x}\n"),
        ("!X=5; echo $X {n}", "5 {n}\n"),
        ("!echo {undefined} {n}", "{undefined} {n}\n"),
        ("!echo a | tr a b", "b\n"),
        ("!echo err >&2", "err\n"),
        ("!false", ""),
        ("!ls nothing-there 2>/dev/null || echo no", "no\n"),
        ("!echo a \\\n  b", "a b\n"),
        ("!cd / && pwd", "/\n"),
        ("!touch a1 a2; ls a*", "a1\na2\n"),
        ("!touch b1 b2\n!ls {pat}", "b1\nb2\n"),
        ("x = !echo a; echo b\nprint(x)", "['a', 'b']\n"),
        ("x = !echo {n}\nprint(x[0])", "3\n"),
        ("x = %sx echo a\nprint(x)", "['a']\n"),
        ("%system echo a", ""),
        ("!!echo a", ""),
        ("if n:\n    !echo {n}", "3\n"),
        ("def f(n):\n    !echo {n}\nf(8)", "8\n"),
        ("%time !echo a", "a\n"),
        ("%mkdir sub\n%cd sub\n!echo a > f\n!cat f", "a\n"),
        ("get_ipython().system('echo a')", "a\n"),
        ("x = get_ipython().getoutput('echo a')\nprint(x)", "['a']\n"),
        ("%env N1=7\n!echo $N1", "7\n"),
        ("%%bash\necho a\\\nb 'c\"' '\"\"\"'\nexit 0", 'ab c" """\n'),
        ("# say\n%%bash\nfor i in 1 2\ndo echo $i; done", "1\n2\n"),
        ('%%bash -s {n} "{s}"\necho "$1-$2"', "3-a  b\n"),
        ("%%sh\necho $0", "sh\n"),
        ("%%bash --out o\necho a\n", ""),
        ("%%bash --no-raise-error\nexit 3", ""),
        ("%%!\necho a", "a\n"),
        ("%%python3\nprint(1 + 1)", "2\n"),
        ('%%script cat\na"""\n\\', 'a"""\n\\\n'),
    ],
)
def test_commands(source: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N1", "0")
    values = {"n": 3, "d": {"k": "v"}, "s": "a  b", "opts": "-n", "pat": "b*"}
    out, _ = ran(source, tmp_path, names=frozenset(values) | {"f"}, **values)
    assert out == printed


def test_script_output_bound(tmp_path: Path) -> None:
    assert ran("%%bash --out o\necho a", tmp_path)[1]["o"] == "a\n"


@pytest.mark.parametrize(
    ("source", "argv"),
    [
        ("!ls -l", '["ls", "-l"]'),
        ("!gsutil cp a.csv gs://b/c.csv", '["gsutil", "cp", "a.csv", "gs://b/c.csv"]'),
        ('!echo "{x}/y"', '["echo", f"{x}/y"]'),
        ("!ls *", '["bash", "-c", "ls *"]'),
        ("!ls {x}", '["bash", "-c", f"ls {x}"]'),
        ("!cd a", '["bash", "-c", "cd a"]'),
        ("!A=1 ls", '["bash", "-c", "A=1 ls"]'),
        ("!ls ~", '["bash", "-c", "ls ~"]'),
        ("!ls 'a", '["bash", "-c", "ls \'a"]'),
    ],
)
def test_shell_only_where_needed(source: str, argv: str) -> None:
    cell = made(source)
    assert f"subprocess.run({argv}," in cell.text
    assert "shell=True" not in cell.text


@pytest.mark.parametrize(
    "text", ["a", "'''", '"""', 'a"', '"', "\\", "a\\", '\\"""', '""""""\n""', "\n\n", "é\t", "{x} $y", "\\N", "a\n\n"]
)
def test_writefile_round_trips(text: str, tmp_path: Path) -> None:
    source = f"%%writefile sub.txt\n{text}"
    ran(source, tmp_path)
    assert (tmp_path / "sub.txt").read_text() == f"{text}\n"
    ran(source.replace("sub.txt", "-a sub.txt"), tmp_path)
    assert (tmp_path / "sub.txt").read_text() == f"{text}\n" * 2


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab\"'\\\n{}$%! \t\x0b\x0c\x85\u2028é"), max_size=20))
def test_writefile_round_trips_anything(text: str) -> None:
    cell = made(f"%%writefile f\n{text}")
    written: list[str] = []

    class FakePath:
        def __init__(self, path: str) -> None:
            assert path == "f"

        def write_text(self, data: str, encoding: str) -> None:
            written.append(data)

    exec(cell.text, {"pathlib": type("P", (), {"Path": FakePath})})
    assert written == [f"{text}\n"]


def test_files() -> None:
    assert made("%%writefile a/b.py\nx").files == ("a/b.py",)
    assert made("%%writefile -a 'c d.py'\nx").files == ("c d.py",)
    cell = made("%%writefile {folder}/b.py\nx")
    assert cell.files == ()
    assert 'f"{folder}/b.py"' in cell.text


@pytest.mark.parametrize(
    ("source", "head", "tail"),
    [
        ("%%bigquery df\nSELECT\n1", 'df = bigquery.Client().query("""\\', '1\\n""").result().to_dataframe()'),
        ("%%bigquery df --project $P\nSELECT 1", 'df = bigquery.Client(project=P).query("""\\', None),
        ("%%bigquery df --project my-p --verbose\nSELECT 1", 'df = bigquery.Client(project="my-p").query("""\\', None),
        ("%%bigquery --project p df\nSELECT 1", 'df = bigquery.Client(project="p").query("""\\', None),
        ("%%bigquery df\n$q", "df = bigquery.Client().query(q).result().to_dataframe()", ""),
        ("%%bigquery\nCREATE TABLE x AS SELECT 1", None, 'CREATE TABLE x AS SELECT 1\\n""").result()'),
        ("%%bigquery\n-- make\nSELECT 1;\nDROP TABLE x", None, 'DROP TABLE x\\n""").result()'),
        ("%%bigquery df --max_results 5\nSELECT 1", None, 'SELECT 1\\n""").result(max_results=5).to_dataframe()'),
        ("%%bigquery df --max_results 0\nSELECT 1", None, 'SELECT 1\\n""").result().to_dataframe()'),
        ("%%bigquery df --max_results $n\nSELECT 1", None, ".result(max_results=int(n) or None).to_dataframe()"),
        (
            "%%bigquery df --maximum_bytes_billed None\nSELECT 1",
            None,
            "(maximum_bytes_billed=0)).result().to_dataframe()",
        ),
        ("%%bigquery df\nshop.trips", 'df = bigquery.Client().list_rows("shop.trips").to_dataframe()', ""),
    ],
)
def test_bigquery(source: str, head: str | None, tail: str | None) -> None:
    cell = made(source)
    assert head is None or cell.lines[0] == head
    assert tail is None or (cell.lines[-1].endswith(tail) if tail else cell.lines[-1] == "")
    assert cell.imports == ("from google.cloud import bigquery",)
    assert not found(cell)


def test_a_cell_that_only_shows_a_table_is_left_out() -> None:
    assert made("%%bigquery\nshop.trips").text == "\n"


def test_bigquery_parameters() -> None:
    literal = made('%%bigquery df --params {"a": 1, "b": "x"}\nSELECT @a').text
    assert (
        'bigquery.ScalarQueryParameter("a", "INT64", 1), bigquery.ScalarQueryParameter("b", "STRING", \'x\')' in literal
    )
    assert "for _k, _v in pp.items()" in made("%%bigquery df --params $pp\nSELECT @a").text


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("x = 1\n%foo bar", "unknown-magic", 2),
        ("%%foo\nbar", "unknown-magic", 1),
        ("%%sql\nselect", "unknown-magic", 1),
        ("%%cython\ncdef", "unknown-magic", 1),
        ("%%R\nx <- 1", "unknown-magic", 1),
        ("x = 1\n%%bash\nls", "unknown-magic", 2),
        ("%run other.py", "dynamic-code", 1),
        ("%store x", "hidden-file", 1),
        ("%reset -f", "unknown-magic", 1),
        ("x = %matplotlib inline", "unknown-magic", 1),
        ("%%capture out\nx = 1", "captured-output", 1),
        ("!server &", "shell-background", 1),
        ("%%bash --bg\nls", "unknown-magic", 1),
        ("%%bigquery df --what 1\nselect", "unknown-magic", 1),
        ("%%writefile\nx", "unknown-magic", 1),
        ("%cd -", "unknown-magic", 1),
        ("get_ipython().kernel.do_shutdown(True)", "ipython-api", 1),
        ("if True:\n    ip = get_ipython()", "ipython-api", 2),
        ("colab = 'google.colab' in str(get_ipython())", "ipython-api", 1),
        ("from IPython import get_ipython\nip = get_ipython()", None, 0),
        ("s = 'get_ipython()'  # get_ipython()", None, 0),
        ("x = 1\ny = (", "syntax-error", 2),
        ("print 'a'", "syntax-error", 1),
        ("!ls\nx = = 1", "syntax-error", 2),
        ("return 1", "syntax-error", 1),
        ("x = '\0'", "syntax-error", 1),
        ("x = " + "-" * 3000 + "1", "too-deep", 1),
        ("x = " + "(" * 3000 + ")" * 3000, "too-deep", 1),
        ("y = 1\nx = " + " + ".join(["1"] * 900), "too-deep", 2),
        ("x = " + "[" * 150 + "]" * 150, None, 0),
        ("x = " + " + ".join(["1"] * 60), None, 0),
        ("x = [\n" + "1,\n" * 3000 + "]", None, 0),
        ("try:\n    get_ipython()\nexcept NameError:\n    pass", None, 0),
    ],
)
def test_findings(source: str, code: str | None, line: int) -> None:
    errors = [(f.code, f.line, f.cell) for f in made(source).findings if f.severity == "error"]
    assert errors == ([(code, line, 0)] if code else [])


def test_python_2_hint() -> None:
    assert "Python 2" in made("print 'a'").findings[0].hint


def test_system_packages_are_a_warning() -> None:
    assert found(made("!apt-get install -y x")) == ["system-package:warning"]
    assert found(made("%load_ext some.unknown")) == ["magic-dropped:warning"]


def book(*sources: str, roles: str = "") -> tuple[PyCell, ...]:
    cells = tuple(Cell(i, f"c{i}", "code", source, parse_tags((), source)) for i, source in enumerate(sources))
    given_roles = tuple(roles.split()) or ("step",) * len(cells)
    return surface(Notebook("nb.ipynb", cells, {}), Layout(given_roles, (), {}))  # type: ignore[arg-type]


def test_names_of_the_notebook_decide_on_dollars() -> None:
    cells = book("bucket = 'b'", "!echo $bucket\n!echo $HOME\n!echo $bucket $HOME", "HOME2 = 1")
    argv = [line[line.index("[") : line.index("]") + 1] for line in cells[1].lines]
    assert argv == [
        '["bash", "-c", f"echo {bucket}"]',
        '["bash", "-c", "echo $HOME"]',
        '["bash", "-c", "echo $bucket $HOME"]',
    ]


def test_a_variable_hides_automagic() -> None:
    assert book("ls = 3", "ls")[1].text == "ls"
    assert book("lx = 3", "ls")[1].text != "ls"


def test_captured_name_that_nobody_reads() -> None:
    assert [f.severity for f in book("%%capture cap\nx = 1", "x")[0].findings] == ["note"]
    assert [f.severity for f in book("%%capture cap\nx = 1", "cap.show()")[0].findings] == ["error"]


def test_lists_of_ipython() -> None:
    assert [f.code for f in book("x = !ls", "y = x.n")[1].findings] == ["ipython-api"]
    assert not book("x = !ls", "y = x[0]")[1].findings
    assert not book("x = f()", "y = x.n")[1].findings


def test_skipped_cells() -> None:
    cells = book("%foo\n!pip install a", "x = (", "%bar", roles="skip skip step")
    assert [[(f.code, f.severity) for f in c.findings] for c in cells] == [
        [],
        [("syntax-error", "note")],
        [("unknown-magic", "error")],
    ]
    assert not cells[0].requirements


LINES = st.sampled_from(
    [
        "%time x",
        "!ls {x",
        "%%bash",
        "%%writefile a",
        "x = !ls \\",
        "'''",
        '"""',
        "(",
        ")",
        "]",
        "x = 1",
        "if x:",
        "    !pip install -r {x}",
        "    %env A=b",
        "%cd",
        "y = %pwd",
        "?x",
        "x??",
        "%%bigquery d --params {'a':1} --project $P",
        "get_ipython().system('ls')",
        "#",
        " step: a",
        "\\",
        "$x {y!r:>3}",
        "!echo \"{x['a']}\" '$z' $$ {{",
        '%%script bash -s "{x}"',
        "pip install x",
        "%",
        "!",
        "%%",
        "!!",
        "= !",
        "x = %",
        "%load_ext a",
        "%%capture c",
        "%%time",
        "ls -l",
        "\t!ls",
        "# c",
        "%timeit x",
        "!a & b &",
        "%run x",
        "x = %env",
        "%%bash --out",
        "%%sx",
        "%%capture",
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    source=st.lists(LINES, max_size=6).map("\n".join)
    | st.text(max_size=30)
    | st.text("%!?'\"\\({x=} \n$a#", max_size=15)
)
def test_anything_keeps_its_lines(source: str) -> None:
    cell = made(source)
    assert all("\n" not in line for line in cell.lines)
    bad = {"syntax-error", "too-deep"} & {f.code for f in cell.findings}
    if not bad:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(cell.text, "cell", "exec", 0x2000)


@settings(max_examples=300, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(["{", "}", "$", "n", "d", "'", " ", "x", "n+1", "[0]", ".", ":", "!r", "1", '"']), max_size=9
    )
)
def test_interpolation_is_ipythons(text: list[str]) -> None:
    formatter = pytest.importorskip("IPython.utils.text").DollarFormatter()
    command = "".join(text)
    values = {"n": 3, "d": [4, 5]}
    magic = Magic("!", command, (command,), 0, 1, names=frozenset(values))
    pieces = interpolated(command, magic)
    try:
        wanted = formatter.vformat(command, args=[], kwargs=dict(values))
    except Exception:
        wanted = command
    try:
        got = eval(expression(pieces), dict(values))
    except Exception:  # a value that fails when it is computed: loud, where IPython leaves the text as it is
        assert wanted == command
    else:
        assert got == wanted
