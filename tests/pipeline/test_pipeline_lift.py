"""Helper functions that read parameters take them as arguments; where that would change their meaning they stay."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nb2pipe.convert import load

HEAD = """
# %% tags=["parameters"]
rate = 2
names = ["a", "b"]
# %% tags=["step:first"]
base = sum(range(4)) + rate * len(names)
# %% tags=["step:second"]
"""


def second(tmp_path: Path, code: str) -> str:
    """The generated file of a step with `code`, which prints the same as the notebook."""
    path = tmp_path / "helpers.py"
    path.write_text(HEAD + textwrap.dedent(code).strip() + "\n")
    plain = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True).stdout
    conversion = load(path)
    text = conversion.project.files["helpers/steps/second.py"]
    result = conversion.run(cache=False)
    assert result.status == "succeeded", result.error
    assert "".join(step.stdout.read_text() for step in result.steps) == plain
    return text


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (
            "def f(x):\n    return x * rate\nprint(f(base))",
            ["\ndef f(x, *, rate: int):", "    print(f(base, rate=rate))"],
        ),
        (
            "def f():\n    return rate, names\nprint(f())",
            ["\ndef f(*, names: list, rate: int):", "f(names=names, rate=rate)"],
        ),
        (
            "def f(*args, k=1, **more):\n    return args, k, more, rate\nprint(f(1, z=base))",
            ["\ndef f(*args, k=1, rate: int, **more):", "f(1, z=base, rate=rate)"],
        ),
        (
            "def f(x, k=(1)):  # why\n    return x * k * rate\nprint(f((base)))",
            ["\ndef f(x, k=(1), *, rate: int):  # why", "f((base), rate=rate)"],
        ),
        (
            "def f(xs):\n    return sum(xs) * rate\nprint(f(x for x in range(base)))",
            ["f((x for x in range(base)), rate=rate)"],
        ),
        (
            "def g():\n    return rate\ndef f(n):\n    return g() if n < 1 else f(n - 1)\nprint(f(base))",
            [
                "\ndef g(*, rate: int):",
                "\ndef f(n, *, rate: int):",
                "return g(rate=rate) if n < 1 else f(n - 1, rate=rate)",
                "print(f(base, rate=rate))",
            ],
        ),
        (
            "def f(x):\n    return [x * rate for _ in range(2)]\ndef h(x):\n    return f(x) + [base]\nprint(h(1))",
            ["\ndef f(x, *, rate: int):", "    def h(x):\n        return f(x, rate=rate) + [base]"],
        ),
        (
            "def f(x):\n    def inner():\n        return rate + x\n    return inner()\nprint(f(base))",
            ["\ndef f(x, *, rate: int):"],
        ),
        (
            "def f(\n    x,  # one\n):\n    return x + rate\nprint(f(\n    base,\n))",
            ["\ndef f(\n    x,  # one\n*, rate: int):", "    print(f(\n        base,\n    rate=rate))"],
        ),
    ],
    ids=[
        "simple",
        "several",
        "stars",
        "brackets and comments",
        "generator",
        "passed on",
        "from a closure",
        "inner function",
        "over lines",
    ],
)
def test_parameters_become_arguments(tmp_path: Path, code: str, wanted: list[str]) -> None:
    text = second(tmp_path, code)
    for part in wanted:
        assert part in text


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return x * rate\nprint(list(map(f, [base])))",
        "def f(x, k=rate):\n    return x * k * rate\nprint(f(base))",
        "def f(x):\n    return x * rate + base\nprint(f(1))",
        "import functools\n@functools.lru_cache\ndef f(x):\n    return x * rate\nprint(f(base))",
        "def f(x):\n    return x * rate, eval('x')\nprint(f(base))",
        "def f(x):\n    return x * rate\ng = f\nprint(g(base))",
        "def f(x):\n    return x * rate\ndef f(x):\n    return x + rate\nprint(f(base))",
        "def f(x):\n    return x * 2\nprint(f(base), rate)",
        "def f(x):\n    return x * rate\nprint([rate for rate in range(2)], f(base))",
        "if base:\n    def f(x):\n        return x * rate\nprint(f(base))",
        "def f(x):\n    return x * rate\nclass C:\n    f = f\nprint(C.f(base))",
    ],
    ids=[
        "a value",
        "a default",
        "data",
        "decorated",
        "evaluates",
        "another name",
        "twice",
        "no parameter",
        "bound again",
        "conditional",
        "attribute",
    ],
)
def test_what_would_change_stays_as_it_is(tmp_path: Path, code: str) -> None:
    assert "*, rate" not in second(tmp_path, code)


def test_the_map_still_finds_every_line(tmp_path: Path) -> None:
    path = tmp_path / "helpers.py"
    path.write_text(HEAD + "def f(x):\n    return 1 // (rate - 2)\nprint(f(base))\n")
    result = load(path).run()
    assert result.error is not None
    assert (result.error.cell, result.error.line) == (3, 2)
