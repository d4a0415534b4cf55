"""The cache: what makes a step run again and what does not, damage, and runs at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_project import MakeProject, Project, gives, step, takes

from nb2pipe.notebook.model import Resources
from nb2pipe.targets.cache import Cache, code_digest, digest_below, tree_digests


def statuses(project: Project, parameters: dict[str, object] | None = None, **options: object) -> list[str]:
    return [item.status for item in project.run(parameters, **options).steps]


def test_an_unchanged_run_is_cached_with_its_output(fares: Project) -> None:
    first = fares.run()
    started = time.monotonic()
    second = fares.run()
    assert time.monotonic() - started < 0.5
    assert {item.status for item in second.steps} == {"cached"}
    assert second.metrics == first.metrics
    for before, after in zip(first.steps, second.steps, strict=True):
        assert after.stdout.read_bytes() == before.stdout.read_bytes()
        assert list(after.outputs) == list(before.outputs)
        assert all(path.is_relative_to(second.run_dir) and path.exists() for path in after.outputs.values())
    assert statuses(fares, cache=False) == ["succeeded"] * 4


def change_input(project: Project) -> None:
    (project.notebook_dir / "data" / "fares.csv").write_text("1\n2\n3\n")


def change_train(project: Project) -> None:
    path = project.root / project.package / "steps" / "train.py"
    path.write_text(path.read_text().replace('"mean": sum(fares)', '"mean": 1 + sum(fares)'))


def change_metric(project: Project) -> None:
    path = project.root / project.package / "steps" / "train.py"
    path.write_text(path.read_text().replace("len(fares)}", "len(fares) + 1}"))


def comment(project: Project) -> None:
    for path in (project.root / project.package / "steps").glob("*.py"):
        path.write_text("# a comment\n\n" + path.read_text())


def change_table(project: Project) -> None:
    path = project.root / project.package / "task.py"
    path.write_text(path.read_text().replace('"how many rows"', '"how many"'))


def change_task(project: Project) -> None:
    path = project.root / project.package / "task.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")


def change_module(project: Project) -> None:
    (project.root / "helpers.py").write_text("x = 1\n")


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        (change_input, ["load", "train", "count", "report"]),
        (change_train, ["train", "report"]),
        (change_metric, ["train"]),
        (change_task, ["load", "train", "count", "report"]),
        (change_module, ["load", "train", "count", "report"]),
        (comment, []),
        (change_table, []),
    ],
)
def test_what_makes_a_step_run_again(fares: Project, change: Callable[[Project], None], ran: list[str]) -> None:
    fares.run()
    change(fares)
    assert [item.name for item in fares.run().steps if item.status == "succeeded"] == ran


@pytest.mark.parametrize(
    ("parameters", "ran"),
    [
        ({"rows": 3}, []),
        ({"rows": "2"}, ["load", "train", "count", "report"]),
        ({"label": "other"}, ["count"]),
        ({"options": "{}"}, ["train", "report"]),
    ],
)
def test_a_parameter_runs_again_only_what_it_reaches(
    fares: Project, parameters: dict[str, object], ran: list[str]
) -> None:
    fares.run()
    changed = [item.name for item in fares.run(parameters).steps if item.status == "succeeded"]
    assert [name for name in changed if name != "report"] == [name for name in ran if name != "report"]
    assert ("report" in changed) == ("report" in ran)


def test_cache_off_runs_always_and_what_follows_uses_the_cache(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("now", resources=Resources(cache=False), **gives("x")): "def now():\n    return 1\n",
            step("then", inputs=takes(x="now")): "def then(x):\n    print(x)\n",
        }
    )
    assert statuses(project) == ["succeeded", "succeeded"]
    assert statuses(project) == ["succeeded", "cached"]


@pytest.mark.parametrize("damage", ["change", "remove", "manifest", "extra"])
def test_a_damaged_entry_is_set_aside_and_made_anew(fares: Project, damage: str) -> None:
    fares.run()
    cache = fares.notebook_dir / ".nb2pipe" / "cache"
    for entry in {path.parent for path in cache.rglob("manifest.json")}:
        victim = entry / "results" / "stdout"
        if damage == "change":
            victim.unlink()
            victim.write_text("forged\n")
        elif damage == "remove":
            victim.unlink()
        elif damage == "extra":
            (entry / "results" / "more").write_text("")
        else:
            (entry / "manifest.json").write_text("{")
    assert statuses(fares) == ["succeeded"] * 4
    assert len(list((cache / "quarantine").iterdir())) == 4
    assert statuses(fares) == ["cached"] * 4


def test_changing_a_runs_output_does_not_poison_the_cache(fares: Project) -> None:
    first = fares.run()
    with (first.steps[0].outputs["fares"] / "values.pickle").open("ab") as file:
        file.write(b"x")
    assert statuses(fares)[0] == "succeeded"


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(fares: Project) -> None:
    (fares.notebook_dir / "blocked").write_text("")
    assert statuses(fares, cache_dir=fares.notebook_dir / "blocked") == ["succeeded"] * 4
    assert sum("cannot be kept" in event.text for event in fares.events) == 4


def test_what_is_replayed_is_what_was_shown(make_project: MakeProject) -> None:
    project = make_project({step("s", form="module"): r"print('a\x0bb\r\n\nc', end='')"})
    project.run()
    first = [(event.kind, event.text) for event in project.events if event.kind == "log"]
    project.events.clear()
    project.run()
    assert [(event.kind, event.text) for event in project.events if event.kind == "log"] == first
    assert len(first) == 3


def test_runs_at_the_same_time_share_the_cache(fares: Project) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(fares.run().status)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["succeeded"] * 3
    assert len(list((fares.notebook_dir / ".nb2pipe" / "runs").iterdir())) == 3
    assert statuses(fares) == ["cached"] * 4


def test_an_entry_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    cache, results = Cache(tmp_path / "cache"), tmp_path / "results"
    (results / "empty").mkdir(parents=True)
    (results / "a").write_text("1")
    files = tree_digests(results)
    assert cache.fetch("k" * 8, tmp_path / "x") is None
    cache.store("k" * 8, results, files)
    cache.store("k" * 8, results, files)
    assert cache.fetch("k" * 8, tmp_path / "out") == files
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert (tmp_path / "out" / "empty").is_dir()


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "tmp-999999999-a").mkdir()
    (tmp_path / "tmp-1-b").mkdir()
    Cache(tmp_path).sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["tmp-1-b"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1", "# cell 3\nx  =  1", True),
        ('"""Doc."""\nx = 1', "x = 1", True),
        ('def f():\n    """Doc."""\n    return 1', "def f():\n    return 1", True),
        ("STEPS = {}\nx = 1", "STEPS: dict = {1: 2}\nx = 1", True),
        ("x = 1", "x = 2", False),
        ("x = 1", "x = True", False),
        ("def f(a=1): pass", "def f(a=2): pass", False),
        ("x = (", "x = ((", False),
    ],
)
def test_code_counts_by_meaning(one: str, other: str, same: bool) -> None:
    names = frozenset({"STEPS"})
    assert (code_digest(one, names) == code_digest(other, names)) is same


def test_digests_below_a_name() -> None:
    files = {"a/x": "1", "a/y": "2", "ab/x": "1", "f": "3"}
    assert digest_below(files, "f") == "3"
    assert digest_below(files, "a") == digest_below({"x": "1", "y": "2"}, "")
    assert digest_below(files, "a") != digest_below(files, "ab")
