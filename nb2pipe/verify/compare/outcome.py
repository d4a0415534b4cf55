"""What a comparison of two values found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["equal", "close", "not proved", "different"]
RANK: dict[Verdict, int] = {"equal": 0, "close": 1, "not proved": 2, "different": 3}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on two values; `detail` says where and how they differ, or why nothing is proved."""

    verdict: Verdict
    detail: str = ""


EQUAL = Outcome("equal")


class Within(Protocol):
    """The comparison that a kind of value is compared in: it compares the parts."""

    def __call__(self, a: Any, b: Any, path: str) -> Outcome:
        """The outcome for the parts at `path`: the notebook's, the pipeline's."""
        ...

    def is_library(self, thing: Any) -> bool:
        """Whether a class or function comes from a library."""
        ...

    @property
    def seen(self) -> tuple[Any, ...]:
        """Heads of the frames, arrays and tensors of this boundary and earlier ones."""
        ...

    def data_for(self, model: Any) -> list[Any]:
        """Data that the model may predict from."""
        ...


def close(detail: str) -> Outcome:
    """Equal within the stated tolerance."""
    return Outcome("close", detail)


def different(path: str, notebook: object, pipeline: object) -> Outcome:
    """The values at `path` differ."""
    return Outcome("different", f"{path}: {short(notebook)} in the notebook, {short(pipeline)} in the pipeline")


def not_proved(path: str, why: str) -> Outcome:
    """The values at `path` could not be compared."""
    return Outcome("not proved", f"{path}: {why}")


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The gravest outcome, the first of several; a difference ends the search."""
    found = EQUAL
    for outcome in outcomes:
        if RANK[outcome.verdict] > RANK[found.verdict]:
            found = outcome
        if found.verdict == "different":
            break
    return found


def short(value: object, limit: int = 80) -> str:
    """The value on one line."""
    try:
        text = value if isinstance(value, _Said) else repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} without a repr: {error}>"
    text = " ".join(str(text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Said(str):
    """A text that is shown without quotes."""

    __slots__ = ()


def said(text: str) -> str:
    """Marks a description, which is not a value: `different(path, said("3 rows"), said("4 rows"))`."""
    return _Said(text)
