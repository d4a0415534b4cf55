"""The training frameworks that nb2pipe can distribute, one file each."""

from __future__ import annotations

from nb2pipe.training.model import Framework

FRAMEWORKS: tuple[Framework, ...] = ()
