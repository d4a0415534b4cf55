"""Objects that cloudpickle alone would not keep: shared variables of closures, `__getattr__`, exceptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Trip = Callable[[Any], Any]

TEXT = """
def pair():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    def read():
        return n
    return up, read

def recursive():
    def factorial(k):
        return 1 if k == 0 else k * factorial(k - 1)
    return factorial

def never_bound():
    def read():
        return later
    if False:
        later = 1
    return read

class Base:
    def tell(self):
        return "base"

class Derived(Base):
    def tell(self):
        return "derived from " + super().tell()

class Recorder:
    def __init__(self):
        self.asked = []
    def __getattr__(self, name):
        self.asked.append(name)
        return name

class Config(dict):
    __getattr__ = dict.get

class Rows(list):
    def __getattr__(self, name):
        raise KeyError(name)

class Chosen:
    def __init__(self):
        self.kept, self.dropped = 1, 2
    def __getattr__(self, name):
        raise AttributeError(name)
    def __getstate__(self):
        return {"kept": self.kept}

class Problem(Exception):
    def __init__(self, code, rows):
        super().__init__(code)
        self.rows = rows
"""


@pytest.fixture
def made() -> dict[str, Any]:
    """The definitions of TEXT, stored by value as those of a notebook are."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(TEXT, names)
    return names


@pytest.fixture
def trip(artifacts: ModuleType, tmp_path: Path) -> Trip:
    """Save and load a value."""

    def there_and_back(value: Any) -> Any:
        artifacts.save(tmp_path / "x", {"value": value})
        return artifacts.load(tmp_path / "x")["value"]

    return there_and_back


@pytest.mark.parametrize("wrap", [tuple, list, lambda both: {"up": both[0], "read": both[1]}])
def test_closures_of_one_call_go_on_sharing_their_variable(
    made: dict[str, Any], trip: Trip, wrap: Callable[[Any], Any]
) -> None:
    loaded = trip(wrap(made["pair"]()))
    up, read = loaded.values() if isinstance(loaded, dict) else loaded
    assert (up(), up(), read()) == (1, 2, 2)


def test_closures_of_two_calls_stay_apart(made: dict[str, Any], trip: Trip) -> None:
    (up, _), (_, read) = trip([made["pair"](), made["pair"]()])
    assert (up(), read()) == (1, 0)


def test_a_closure_may_hold_itself_or_nothing(made: dict[str, Any], trip: Trip) -> None:
    assert trip(made["recursive"]())(5) == 120
    with pytest.raises(NameError):
        trip(made["never_bound"]())()
    assert trip(made["Derived"]()).tell() == "derived from base"


def test_storing_does_not_ask_for_attributes_that_are_not_there(made: dict[str, Any], trip: Trip) -> None:
    recorder = made["Recorder"]()
    loaded = trip(recorder)
    assert recorder.asked == []
    assert loaded.asked == []
    assert (loaded.size, loaded.asked) == ("size", ["size"])


@pytest.mark.parametrize(("name", "items"), [("Config", {"rate": [1]}), ("Rows", [1, [2]])])
def test_a_container_with_getattr_keeps_items_and_attributes(
    made: dict[str, Any], trip: Trip, name: str, items: Any
) -> None:
    value = made[name](items)
    value.__dict__["note"] = ["n"]
    loaded = trip(value)
    assert (type(loaded).__name__, loaded, vars(loaded)) == (name, items, {"note": ["n"]})


def test_a_class_that_says_how_it_is_stored_is_stored_so(made: dict[str, Any], trip: Trip) -> None:
    assert vars(trip(made["Chosen"]())) == {"kept": 1}


def test_an_exception_that_takes_more_than_it_passes_on(made: dict[str, Any], trip: Trip) -> None:
    loaded = trip({"error": made["Problem"](3, [1]), "plain": ValueError("x", 2)})
    assert (loaded["error"].args, loaded["error"].rows) == ((3,), [1])
    assert (type(loaded["plain"]), loaded["plain"].args) == (ValueError, ("x", 2))
