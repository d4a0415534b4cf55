"""The text of artifacts.py: only what can occur, clean, the same every time, and importing nothing heavy."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

import nb2pipe.artifacts.registry as registry
from nb2pipe.artifacts import kind_of, requirements, source
from nb2pipe.artifacts.formats import FORMATS

COMMON = {"json", "parquet", "npy", "sklearn", "pickle"}


def as_module(text: str, folder: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(folder / f"{name}.py")
    sys.modules[name] = module
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    return module


def formats_in(text: str) -> set[str]:
    table = text.strip().splitlines()[-1]
    assert table.startswith("FORMATS = (")
    return {name.strip().lower() for name in table.removeprefix("FORMATS = (").removesuffix(")").split(",")}


@pytest.mark.parametrize(
    ("types", "libraries", "formats"),
    [
        ([], None, {"json", "pickle"}),
        (["builtins.int", "float"], None, {"json", "pickle"}),
        (["pandas.DataFrame"], None, {"json", "pickle", "parquet"}),
        (["pandas.core.frame.DataFrame"], None, {"json", "pickle", "parquet"}),
        (["pandas.Series | None"], None, {"json", "pickle", "parquet"}),
        (["Optional[numpy.ndarray]"], None, {"json", "pickle", "npy"}),
        (["list[pandas.DataFrame]"], None, {"json", "pickle"}),
        (["pandas.Index"], None, {"json", "pickle"}),
        (["sklearn.ensemble.RandomForestClassifier"], None, {"json", "pickle", "sklearn"}),
        (["sklearn.utils.Bunch"], None, {"json", "pickle"}),
        (["xgboost.XGBRegressor"], None, {"json", "pickle", "xgboost"}),
        (["tensorflow.keras.Sequential"], None, {"json", "pickle", "keras"}),
        (["torch.nn.Linear", "plotly.graph_objects.Figure"], None, {"json", "pickle", "torch", "figure"}),
        (["my.Thing"], None, {"json", "pickle"}),
        ([None], None, COMMON),
        ([None], [], {"json", "npy", "pickle"}),
        ([None], ["sklearn.linear_model", "re"], {"json", "npy", "pickle", "sklearn"}),
        ([None], ["pandas", "matplotlib.pyplot"], {"json", "npy", "pickle", "parquet", "figure"}),
        (["int"], ["pandas"], {"json", "pickle"}),
    ],
)
def test_only_formats_that_can_occur(types: list[str | None], libraries: list[str] | None, formats: set[str]) -> None:
    assert formats_in(source(types, libraries)) == formats


EACH = [f"{format.types[0]}" for format in FORMATS]


@pytest.mark.parametrize("types", [[], [None], EACH, *([name] for name in EACH)])
def test_text_is_clean_and_imports_only_the_standard_library(types: list[str | None], tmp_path: Path) -> None:
    text = source(types)
    tree = ast.parse(text)
    assert "nb2pipe" not in text
    assert max(map(len, text.splitlines())) <= 100
    modules = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= set(sys.stdlib_module_names)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node)
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff:
        (tmp_path / "artifacts.py").write_text(text)
        command = [ruff, "check", "--isolated", "--line-length", "100", "artifacts.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        command = [ruff, "format", "--isolated", "--line-length", "100", "--diff", "artifacts.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_same_types_same_text() -> None:
    assert source(["pandas.DataFrame", None]) == source([None, "pandas.DataFrame", None])


def test_importing_it_loads_no_library(module_of: Callable[[str], ModuleType]) -> None:
    path = module_of(source(EACH)).__file__
    loaded = f"[m for m in {EACH!r} if m.partition('.')[0] in sys.modules]"
    code = f"import sys, runpy; runpy.run_path({path!r}); print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr([n for n in EACH if n.startswith("builtins.")])


@pytest.mark.parametrize(
    ("type_name", "kind", "needs"),
    [
        (None, "Artifact", ("cloudpickle",)),
        ("", "Artifact", ("cloudpickle",)),
        ("int", "Artifact", ()),
        ("builtins.dict", "Artifact", ()),
        ("dict[str, float]", "Artifact", ()),
        ("builtins.tuple", "Artifact", ("cloudpickle",)),
        ("pandas.DataFrame", "Dataset", ("pandas", "pyarrow")),
        ("pandas.core.series.Series", "Dataset", ("pandas", "pyarrow")),
        ("pandas.Index", "Dataset", ("pandas", "cloudpickle")),
        ("numpy.ndarray", "Dataset", ("numpy",)),
        ("numpy.float64", "Artifact", ("numpy",)),
        ("sklearn.pipeline.Pipeline", "Model", ("scikit-learn", "joblib", "cloudpickle")),
        ("sklearn.utils.Bunch", "Artifact", ("scikit-learn", "cloudpickle")),
        ("xgboost.Booster", "Model", ("xgboost",)),
        ("xgboost.XGBClassifier", "Model", ("xgboost", "scikit-learn")),
        ("xgboost.sklearn.XGBClassifier", "Model", ("xgboost", "scikit-learn")),
        ("lightgbm.LGBMRegressor", "Model", ("lightgbm", "scikit-learn")),
        ("keras.src.models.sequential.Sequential", "Model", ("keras", "cloudpickle")),
        ("keras.callbacks.History", "Artifact", ("keras", "cloudpickle")),
        ("tensorflow.keras.models.Model", "Model", ("tensorflow", "cloudpickle")),
        ("tensorflow.Tensor", "Artifact", ("tensorflow", "cloudpickle")),
        ("torch.nn.Sequential", "Model", ("torch", "cloudpickle")),
        ("torch.optim.Adam", "Artifact", ("torch", "cloudpickle")),
        ("matplotlib.figure.Figure", "Artifact", ("matplotlib",)),
        ("plotly.graph_objs._figure.Figure", "HTML", ("plotly",)),
        ("somewhere.Else", "Artifact", ("cloudpickle",)),
    ],
)
def test_kind_and_requirements(type_name: str | None, kind: str, needs: tuple[str, ...]) -> None:
    assert kind_of(type_name) == kind
    assert requirements(type_name) == needs


PLUG_IN = '''"""Fractions as text."""
from pathlib import Path
from typing import Any
from nb2pipe.artifacts.format import Format

def save_fraction(value: Any, folder: Path) -> None:
    """Write it."""
    (folder / "f.txt").write_text(str(value))

def load_fraction(folder: Path) -> Any:
    """Read it."""
    from fractions import Fraction

    return Fraction((folder / "f.txt").read_text())

FRACTION = Format("fraction", types=("fractions.Fraction",), save=save_fraction, load=load_fraction)
'''


class Point:
    name = "fraction"

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def load(self) -> ModuleType:
        return self.module


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, module_of: Callable[[str], ModuleType]) -> Iterator[Callable[[str], None]]:
    def install(text: str) -> None:
        module = module_of(text)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point(module)])
        registry.modules.cache_clear()

    yield install
    registry.modules.cache_clear()


def test_a_plug_in_is_a_module_like_ours(plug_in: Callable[[str], None], tmp_path: Path) -> None:
    plug_in(PLUG_IN)
    text = source(["fractions.Fraction"])
    assert formats_in(text) == {"fraction", "json", "pickle"}
    written = as_module(text, tmp_path, "plugged_artifacts")
    assert written.save(tmp_path / "f", {"f": Fraction(1, 3)})["format"] == "fraction"
    assert written.load(tmp_path / "f") == {"f": Fraction(1, 3)}


def test_two_formats_cannot_define_the_same_name(plug_in: Callable[[str], None]) -> None:
    plug_in(PLUG_IN.replace("save_fraction", "save_json"))
    with pytest.raises(ValueError, match="both define save_json"):
        source(["fractions.Fraction"])
