"""The training frameworks that nb2pipe can distribute, one file each."""

from __future__ import annotations

from nb2pipe.training.keras import Keras
from nb2pipe.training.model import Framework
from nb2pipe.training.pytorch import PyTorch
from nb2pipe.training.xgboost import XGBoost

FRAMEWORKS: tuple[Framework, ...] = (Keras(), PyTorch(), XGBoost())
