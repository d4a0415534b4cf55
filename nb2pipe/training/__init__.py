"""Distributed training and tuning: what a step with workers, and a parameter with a search space, become."""

from nb2pipe.training.distribute import distributed
from nb2pipe.training.reports import reporting

__all__ = ["distributed", "reporting"]
