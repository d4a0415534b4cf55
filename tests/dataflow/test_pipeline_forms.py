"""What `check` says of a step's form, and what stands in front of the definitions that steps share."""

from __future__ import annotations

import json
from pathlib import Path

import doors
import pytest

import nb2pipe
from nb2pipe.commands.check import check_text


def loaded(folder: Path, cells: list[tuple[str, list[str]]]) -> nb2pipe.Conversion:
    path = folder / "nb.ipynb"
    path.write_text(json.dumps(doors.notebook(cells)), encoding="utf-8")
    return nb2pipe.load(path)


@pytest.mark.parametrize(
    ("code", "form", "reason"),
    [
        ("x = 1\nprint(x)", "function", ""),
        ("x = 1\nexec('x = 2')\nprint(x)", "module", "exec"),
        ("if len('ab') > 3:\n    x = 1\ny = 2", "function", ""),
    ],
)
def test_the_form_of_a_step_has_its_reason(tmp_path: Path, code: str, form: str, reason: str) -> None:
    document = loaded(tmp_path, [(code, ["step:a"])]).check()
    [step] = document["steps"]
    assert step["form"] == form
    assert reason in step["form_reason"]
    assert bool(step["form_reason"]) is (form == "module")
    assert "a script, not a function" not in check_text(document)
    assert ("a script, not a function" in check_text(document, reasons=True)) is (form == "module")


def test_shared_code_imports_what_its_set_up_needs(tmp_path: Path) -> None:
    cells = [
        ("import os\nos.environ['NB_A'] = '3'", ["shared"]),
        ("def f(x):\n    return x + 1", ["shared"]),
        ("y = f(1)", ["step:a"]),
        ("print(f(y))", ["step:b"]),
    ]
    lines = loaded(tmp_path, cells).project.files["nb/shared.py"].splitlines()
    assert lines.index("import os") < lines.index("os.environ['NB_A'] = '3'")


CLASS = "class Box:\n    pass"


@pytest.mark.parametrize(
    ("shows", "codes"),
    [
        ("print(type(Box()))", ["class-text"]),
        ("print([Box])", ["class-text"]),
        ("print(Box.__module__)", ["module-name"]),
        ("print(Box.__qualname__, type(Box()).__name__, isinstance(Box(), Box))", []),
        ("print(len([Box]), Box().__class__ is Box)", []),
    ],
)
def test_what_depends_on_the_module_of_a_shared_class_is_said(tmp_path: Path, shows: str, codes: list[str]) -> None:
    conversion = loaded(tmp_path, [(CLASS, ["shared"]), (shows, ["step:a"]), ("Box()", ["step:b"])])
    assert [f.code for f in conversion.findings if f.severity != "note"] == codes


@pytest.mark.parametrize(
    ("asks", "codes"),
    [
        ("print(os.path.getmtime('a.txt'))", ["file-times"]),
        ("print(Path('a.txt').stat().st_mtime)", ["file-times"]),
        ("print(sorted(['a.txt'], key=os.path.getmtime))", ["file-times"]),
        ("print(os.stat('a.txt').st_size, Path('a.txt').stat().st_size)", []),
        ("open('own.txt', 'w').close()\nprint(os.path.getmtime('own.txt'))", []),
    ],
)
def test_when_a_file_of_another_step_was_changed_is_no_part_of_it(tmp_path: Path, asks: str, codes: list[str]) -> None:
    shared = ("import os\nfrom pathlib import Path", ["shared"])
    conversion = loaded(tmp_path, [shared, ("open('a.txt', 'w').close()", ["step:a"]), (asks, ["step:b"])])
    assert [f.code for f in conversion.findings if f.severity != "note"] == codes
