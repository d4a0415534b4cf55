"""The shape of the house, held by `ast`: layers, no cycles, the places of heavy packages, how long things are."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import doors
import pytest

PACKAGE = doors.ROOT / "nb2pipe"
TEMPLATES = doors.ROOT / "templates"

# Left may not import right. The longest prefix of a module's name gives its layer.
LAYERS = (
    ("findings", "options", "version"),
    ("notebook",),
    ("pipeline.model",),
    ("dataflow",),
    ("pipeline",),
    ("artifacts",),
    ("training",),
    ("beam",),
    ("codegen",),
    ("targets",),
    ("verify",),
    ("review",),
    ("suggest",),
    ("documents",),
    ("convert",),
    ("commands",),
    ("cli", "doors", "", "__main__"),
)
LAYER = {name: index for index, names in enumerate(LAYERS) for name in names}

# Heavy packages, and the only modules that may import them.
ONLY_IN = {
    "nbformat": r"notebook\.read",
    "jinja2": r"codegen\.render",
    "kfp": r"targets\..+",
    "google": r"targets\.(vertex.*|storage)",
    "kubernetes": r"targets\..+",
    "nbconvert": r"doors\.nbconvert",
}
# Imported inside functions only: at the top of a module they would slow `nb2pipe --help`.
HEAVY = frozenset(
    "nbformat nbconvert jupytext jinja2 libcst kfp google boto3 kubernetes pandas numpy sklearn pyarrow IPython yaml"
    "".split()
)
MAX_FILE, MAX_FUNCTION_P90, MAX_FUNCTION_MEDIAN = 600, 40, 12


def module_name(path: Path) -> str:
    """The dotted name below nb2pipe: "notebook.read", "notebook" for its __init__, "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> dict[str, ast.Module]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}


def layer(module: str) -> int | None:
    """The layer of a module by its longest known prefix."""
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((LAYER[prefix] for prefix in prefixes if prefix in LAYER), None)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The full dotted name that a `from ... import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    is_package = (PACKAGE / module.replace(".", "/") / "__init__.py").is_file()
    parts = ["nb2pipe", *filter(None, module.split("."))]
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *filter(None, [node.module])])


def imported(module: str, nodes: Iterator[ast.AST]) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of everything that the import statements among `nodes` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def inside(name: str) -> str | None:
    """The module of nb2pipe that `name` (a module, or a name in one) is or belongs to."""
    if name.split(".")[0] != "nb2pipe":
        return None
    below = name.split(".")[1:]
    return next(m for n in range(len(below), -1, -1) if (m := ".".join(below[:n])) in trees())


def edges() -> Iterator[tuple[str, str, int]]:
    """(importing module, imported module, line), lazy imports and those for type checking included."""
    for module, tree in trees().items():
        for name, line in imported(module, ast.walk(tree)):
            target = inside(name)
            if target is not None and target != module:
                yield module, target, line


def functions() -> Iterator[tuple[str, int]]:
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{module}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A path of modules that comes back to its start, or nothing."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        found = next(filter(None, (search(n, [*path, module]) for n in sorted(graph.get(module, ())))), [])
        done.add(module)
        return found

    return next(filter(None, (search(module, []) for module in sorted(graph))), [])


def test_every_module_has_a_layer() -> None:
    assert [module for module in trees() if layer(module) is None] == []


def test_imports_go_one_way() -> None:
    wrong = []
    for module, target, line in edges():
        here, there = layer(module), layer(target)
        if here is not None and there is not None and there > here:
            wrong.append(f"{module}:{line} imports {target}")
    assert wrong == []


def test_there_is_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for module, target, _ in edges():
        graph.setdefault(module, set()).add(target)
    assert cycle(graph) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, ["a", "b", "a"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
    ],
)
def test_cycle(graph: dict[str, set[str]], found: list[str]) -> None:
    assert cycle(graph) == found


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_package_only_in_its_place(package: str) -> None:
    strangers = [
        f"{module}:{line}"
        for module, tree in trees().items()
        for name, line in imported(module, ast.walk(tree))
        if name.split(".")[0] == package and not re.fullmatch(ONLY_IN[package], module)
    ]
    assert strangers == []


def test_heavy_packages_are_imported_inside_functions() -> None:
    at_the_top = [
        f"{module}:{line} {name}"
        for module, tree in trees().items()
        for name, line in imported(module, iter(tree.body))
        if name.split(".")[0] in HEAVY and module != "doors.nbconvert"  # nbconvert itself imports that one
    ]
    assert at_the_top == []


def loaded_by(arguments: list[str], folder: Path) -> set[str]:
    """The top-level packages of which `nb2pipe ARGUMENTS` imports a module (namespaces made by .pth files are not)."""
    code = (
        "import json, runpy, sys\n"
        "sys.argv[0], before = 'nb2pipe', set(sys.modules)\n"
        "try:\n    runpy.run_module('nb2pipe', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n    status = stop.code or 0\n"
        "new = sorted({m.split('.')[0] for m in set(sys.modules) - before})\n"
        "print('\\nLOADED', json.dumps([status, new]), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=doors.environment(), capture_output=True, text=True, check=True, timeout=120
    )
    status, modules = json.loads(done.stderr.rsplit("LOADED", 1)[1])
    assert status == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["check", "n.ipynb"], ["check", "n.ipynb", "--json"]], ids=" ".join)
def test_what_is_fast_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    cells = [("import pandas as pd\nx = [1]", ["step:a"]), ("x.append(2)", ["step:b"]), ("print(x)", ["step:c"])]
    (tmp_path / "n.ipynb").write_text(json.dumps(doors.notebook(cells)))
    assert loaded_by(arguments, tmp_path) & {"kfp", "google", "nbconvert", "kubernetes", "pandas"} == set()


def test_functions_are_short() -> None:
    lengths = sorted(length for _, length in functions())
    assert statistics.median(lengths) <= MAX_FUNCTION_MEDIAN
    assert statistics.quantiles(lengths, n=10)[-1] <= MAX_FUNCTION_P90


@pytest.mark.parametrize("folder", [PACKAGE, TEMPLATES, doors.ROOT / "tests"], ids=lambda folder: folder.name)
def test_files_are_short(folder: Path) -> None:
    texts = [path for path in folder.rglob("*") if path.suffix in {".py", ".j2"}]
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in texts}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE} == {}


def own_text_files() -> Iterator[Path]:
    """The files of the repository that people wrote or that were generated into it."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=doors.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode:
        pytest.skip("not a git checkout")
    for name in told.stdout.splitlines():
        path = doors.ROOT / name
        if path.is_file() and path.suffix not in {".csv", ".png", ".parquet"}:
            yield path


def test_no_file_names_a_path_of_this_machine() -> None:
    places = {str(doors.ROOT) + "/", str(doors.ROOT.parent) + "/", str(Path.home()) + "/", "pytest-of-"}
    if sys.prefix != sys.base_prefix:
        places.add(sys.prefix + "/")
    # A parent such as "/" or "/tmp/" is in every second text.
    places -= {"/", "//", tempfile.gettempdir() + "/", "/home/", "/root/"}
    me = Path(__file__).resolve()
    found = {
        str(path.relative_to(doors.ROOT)): place
        for path in own_text_files()
        if path.resolve() != me
        for place in places
        if place in path.read_text(encoding="utf-8", errors="replace")
    }
    assert found == {}


def test_wheel_and_sdist_carry_the_templates() -> None:
    text = (doors.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'only-include = ["nb2pipe", "templates"]' in text
    assert '"templates" = "nb2pipe/templates"' in text
