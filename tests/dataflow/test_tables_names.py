"""Every row of the effect tables follows the grammar and names something that its library really has."""

from __future__ import annotations

import builtins
import importlib
import re
import warnings
from importlib import resources
from importlib.util import find_spec
from typing import Any

import pytest

from nb2pipe.dataflow.tables import TableError, _library, effect

LIBRARIES = sorted(
    p.name[:-5] for p in resources.files("nb2pipe.dataflow").joinpath("tables").iterdir() if p.name.endswith(".toml")
)
NO_LIBRARY = ("any", "modules", "builtins", "uncopied")

# Names of older or newer releases than the one that is installed here, that notebooks still use.
OTHER_RELEASES = {
    "os.getppid",
    "copy.replace",
    "math.sumprod",
    "datetime.UTC",
    "numpy.Inf",
    "numpy.NaN",
    "numpy.round_",
    "numpy.row_stack",
    "numpy.in1d",
    "numpy.trapz",
    "numpy.float_",
    "numpy.ndarray.itemset",
    "numpy.ndarray.newbyteorder",
    "numpy.ndarray.ptp",
    "numpy.ndarray.tostring",
    "scipy.pi",
    "sqlalchemy.Engine.execute",
    "tensorflow.set_random_seed",
    *("google.colab.auth.authenticate_user", "google.colab.drive.mount"),
    *(f"pandas.{t}.{n}" for t in ("DataFrame", "Series") for n in ("append", "backfill", "first", "last", "pad")),
    "pandas.DataFrame.iteritems",
    "pandas.read_gbq",
    *(f"pandas.DataFrame.{n}" for n in ("applymap", "to_gbq", "swapaxes")),
    *("uuid.uuid6", "uuid.uuid7", "uuid.uuid8"),
    "keras.preprocessing.image.ImageDataGenerator",  # as `tensorflow.keras` only
    *(
        f"keras.preprocessing.image.ImageDataGenerator.{n}"
        for n in ("flow", "flow_from_directory", "flow_from_dataframe")
    ),
    *(f"keras.preprocessing.image.ImageDataGenerator.{n}" for n in ("random_transform", "fit")),
}
# Attributes that only an instance has, or a class below the named one.
OF_INSTANCES = {
    *(f"pandas.Index.{n}" for n in ("tz_localize", "tz_convert", "normalize", "floor", "ceil", "to_period")),
    *(f"pandas.Index.{n}" for n in ("strftime", "day_name", "month_name")),
    *(f"subprocess.CompletedProcess.{n}" for n in ("stdout", "stderr", "returncode", "args")),
    *("lightgbm.Booster.best_iteration", "lightgbm.Booster.best_score", "google.cloud.bigquery.Client.project"),
    *(f"requests.Response.{n}" for n in ("status_code", "url", "reason", "encoding")),
    *("tempfile.TemporaryDirectory.name",),
    *(f"keras.Model.{n}" for n in ("add", "pop", "reset_states", "name", "built", "stop_training", "optimizer")),
    *(f"keras.Model.{n}" for n in ("input_shape", "output_shape")),
    *(f"keras.Layer.{n}" for n in ("adapt", "get_vocabulary", "vocabulary_size", "name", "built", "kernel", "bias")),
    *("keras.Layer.output_shape", "keras.metrics.Metric.name"),
    *(f"keras.callbacks.History.{n}" for n in ("history", "epoch", "params")),
    *(f"tf_keras.Model.{n}" for n in ("add", "pop", "built", "stop_training", "optimizer")),
    *(f"tf_keras.layers.Layer.{n}" for n in ("adapt", "get_vocabulary", "vocabulary_size", "built", "kernel", "bias")),
    *(f"tf_keras.callbacks.History.{n}" for n in ("history", "epoch", "params", "model")),
    *("tensorflow.Tensor.numpy", "tensorflow.Variable.numpy", "tensorflow.data.Dataset.class_names"),
}
# Types that stand for the objects behind a factory; those with a private name are nobody's.
STAND_INS = (
    *("tensorflow.distribute.Strategy", "pandas.plotting.PlotAccessor", "pandas.api.typing.Rolling"),
    *("matplotlib.style.context", "csv.reader", "csv.writer", "logging.Handler", "multiprocessing.Pool"),
    *("threading.Lock", "concurrent.futures.Executor", "builtins.file", "builtins.generator", "builtins.iterator"),
    "google.cloud.bigquery.RowIterator",
)
OF_BUILTINS = ("builtins.NoneType", "builtins.dict_view", "builtins.file", "builtins.generator", "builtins.iterator")
# A folder of that name hides the module from a plain import; interactive Beam cannot be imported beside pandas 3.
HIDDEN = ("tensorflow.distribute.", "apache_beam.runners.interactive.")


def _rows() -> list[tuple[str, str, str]]:
    found = []
    for root in LIBRARIES:
        sections = _library(root)
        found += [(root, path, row) for path, row in sections.get("functions", {}).items()]
        for kind in ("methods", "attributes"):
            found += [
                (root, f"{type_name}.{name}", row)
                for type_name, rows in sections.get(kind, {}).items()
                for name, row in rows.items()
            ]
    return found


@pytest.mark.parametrize("root", LIBRARIES)
def test_every_row_follows_the_grammar(root: str) -> None:
    for library, path, row in _rows():
        if library == root:
            effect(row)
            assert root in NO_LIBRARY or path.startswith(root + "."), path


@pytest.mark.parametrize(
    "row", ["mutate self", "mutates other", "returns", "view of", "draws numpy when", "returns part of"]
)
def test_a_wrong_row_is_refused(row: str) -> None:
    with pytest.raises(TableError):
        effect(row)


@pytest.mark.parametrize("root", [r for r in LIBRARIES if r not in NO_LIBRARY])
def test_functions_exist(root: str) -> None:
    if find_spec(root) is None:
        pytest.skip(f"{root} is not installed")
    rows = _library(root).get("functions", {})
    known = [p for p in rows if p not in OTHER_RELEASES and not p.startswith(HIDDEN)]
    assert not [p for p in known if not _exists(p.partition(".*")[0])]


@pytest.mark.parametrize("root", [r for r in LIBRARIES if r not in NO_LIBRARY])
def test_methods_and_attributes_exist(root: str) -> None:
    if find_spec(root) is None:
        pytest.skip(f"{root} is not installed")
    wrong = []
    known = OTHER_RELEASES | OF_INSTANCES
    for kind in ("methods", "attributes"):
        for type_name, rows in _library(root).get(kind, {}).items():
            if type_name.endswith("*") or type_name in STAND_INS or "._" in type_name:
                continue
            names = [n for n in rows if f"{type_name}.{n}" not in known]
            wrong += [f"{type_name}.{n}" for n in names if not _has(type_name, n)]
    assert not wrong


@pytest.mark.parametrize("root", [r for r in LIBRARIES if r != "google"])
def test_the_types_that_rows_name_exist_or_are_private(root: str) -> None:
    """A type stands in the annotations of generated steps, where one that does not exist is an error."""
    texts = [row for library, _, row in _rows() if library == root]
    types = {t for row in texts for t in re.findall(r"(?:returns|each) (\w+(?:\.\w+)+)", row)}
    named = [t for t in types if "._" not in t and t not in OF_BUILTINS and not t.startswith(HIDDEN)]
    assert not [t for t in named if find_spec(t.partition(".")[0]) is not None and not _exists(t)]


def test_builtins_exist() -> None:
    rows = _library("builtins")["functions"]
    assert all(hasattr(builtins, path.split(".")[1]) for path in rows if not path.endswith("*"))


def test_constants_of_modules_exist() -> None:
    rows = _library("modules")["attributes"]["modules"]
    here = [p for p in rows if find_spec(p.partition(".")[0]) is not None and p not in OTHER_RELEASES]
    assert not [p for p in here if not _exists(p)]


def _has(type_name: str, name: str) -> bool:
    if name == "*" or name.startswith("__"):
        return True
    owner = _resolved(type_name)
    return owner is not None and hasattr(owner, name)


def _exists(path: str) -> bool:
    return _resolved(path) is not None


def _resolved(path: str) -> Any:
    """The object at an import path, `...` for a constant that is None, None when there is nothing."""
    names = path.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cut in range(len(names), 0, -1):
            try:
                found: Any = importlib.import_module(".".join(names[:cut]))
            except ImportError:
                continue
            return _inside(found, names[cut:])
    return None


def _inside(found: Any, names: list[str]) -> Any:
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError:
            return None
        except ImportError:  # experimental estimators ask for an import of their own first
            return ...
    return found if found is not None else ...
