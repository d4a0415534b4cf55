"""Distributed training and tuning: what a step with workers, and a parameter with a search space, become."""

from nb2pipe.training.distribute import distributed

__all__ = ["distributed"]
