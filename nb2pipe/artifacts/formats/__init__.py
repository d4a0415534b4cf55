"""The built-in formats, one module each; a plug-in is a module of the same shape."""

from __future__ import annotations

from nb2pipe.artifacts.format import Format
from nb2pipe.artifacts.formats.figure import FIGURE
from nb2pipe.artifacts.formats.json import JSON
from nb2pipe.artifacts.formats.keras import KERAS
from nb2pipe.artifacts.formats.lightgbm import LIGHTGBM
from nb2pipe.artifacts.formats.npy import NPY
from nb2pipe.artifacts.formats.parquet import PARQUET
from nb2pipe.artifacts.formats.pickle import PICKLE
from nb2pipe.artifacts.formats.sklearn import SKLEARN
from nb2pipe.artifacts.formats.torch import TORCH
from nb2pipe.artifacts.formats.xgboost import XGBOOST

FORMATS: tuple[Format, ...] = (
    JSON,
    PARQUET,
    NPY,
    SKLEARN,
    XGBOOST,
    LIGHTGBM,
    KERAS,
    TORCH,
    FIGURE,
    PICKLE,
)
