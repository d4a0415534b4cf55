"""The artifacts.py that generated projects hold, with every format in it, as a module."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nb2pipe.artifacts import source

EVERY = [
    "pandas.DataFrame",
    "numpy.ndarray",
    "builtins.int",
    "sklearn.linear_model.LinearRegression",
    "xgboost.Booster",
    "lightgbm.Booster",
    "keras.Model",
    "torch.nn.Linear",
    "matplotlib.figure.Figure",
    None,
]


def as_module(text: str, folder: Path, name: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def module_of(tmp_path: Path) -> Callable[[str], ModuleType]:
    return lambda text: as_module(text, tmp_path, "written_artifacts")


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    yield as_module(source(EVERY), tmp_path_factory.mktemp("project"), "generated_artifacts")
    del sys.modules["generated_artifacts"]
