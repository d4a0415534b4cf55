"""Random generators: by their state."""

from __future__ import annotations

from typing import Any

from nb2pipe.verify.compare.outcome import Outcome, Within


def compare_generators(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Generators of `random` and of NumPy: a different state means another seed or another number of draws."""
    found = within(_state(a), _state(b), f"{path}'s state")
    if found.verdict != "different":
        return found
    return Outcome("different", f"{found.detail}: another seed, or another number of draws")


def _state(generator: Any) -> Any:
    if hasattr(generator, "getstate"):
        return generator.getstate()
    if hasattr(generator, "get_state"):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state
