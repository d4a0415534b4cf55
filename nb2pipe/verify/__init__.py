"""The proof: a notebook and its pipeline are run, and compared at every step boundary."""

from __future__ import annotations

from nb2pipe.verify.check import verify
from nb2pipe.verify.model import Verification
from nb2pipe.verify.writing import write_test

__all__ = ["Verification", "verify", "write_test"]
