"""Runs on this machine: results, order, failures, retries, time limits, parameters, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from small_project import MakeProject, Project, gives, measures, parameter, step, takes

from nb2pipe.notebook.model import Resources, Secret
from nb2pipe.pipeline.model import InputFile
from nb2pipe.targets.base import ParameterError, ProjectError, RunResult, load_target, parameter_texts, read_map
from nb2pipe.targets.local import merged_metrics, run


def statuses(result: RunResult) -> dict[str, str]:
    return {step.name: step.status for step in result.steps}


def stdout(result: RunResult, name: str) -> str:
    return next(step for step in result.steps if step.name == name).stdout.read_text()


def test_a_run_gives_what_the_steps_print_and_compute(fares: Project) -> None:
    result = fares.run({"rows": "2", "limit": "7", "names": "[true]"})
    assert statuses(result) == dict.fromkeys(["load", "train", "count", "report"], "succeeded")
    assert stdout(result, "load") == "read 4\n"
    assert stdout(result, "count") == "bool it's False 7\n"
    assert stdout(result, "report") == (
        "2.0 2.0 2 ['bool', 'str', 'bool', 'int'] {'a': 1, 'b': [1.5, None], 'c': 'x\\'\"{{y}}'}\n"
    )
    assert result.metrics == {"mean": 2.0, "train.rows": 2, "count.rows": 0.5}
    assert all(path.is_dir() for item in result.steps for path in item.outputs.values())


def test_the_document_of_a_run(fares: Project) -> None:
    document = json.loads(json.dumps(fares.run().to_json()))
    assert set(document) == {"status", "run_dir", "seconds", "steps", "metrics", "error"}
    assert (document["status"], document["error"]) == ("succeeded", None)
    assert [set(item) for item in document["steps"]] == [
        {"name", "status", "seconds", "stdout", "stderr", "outputs"}
    ] * 4
    assert sorted(document["steps"][1]["outputs"]) == ["metrics", "model"]


def test_events_frame_each_step_and_carry_its_lines(fares: Project) -> None:
    fares.run()
    kinds = [event.kind for event in fares.events if event.step == "load"]
    assert kinds == ["started", "log", "finished"]
    assert [event.text for event in fares.events if event.kind == "log" and event.step == "load"] == ["read 4"]


def test_independent_steps_run_at_once_up_to_the_jobs(make_project: MakeProject) -> None:
    wait = "import time\nSTART = time.time()\ntime.sleep(0.3)\nprint(START, time.time())\n"
    project = make_project({step(name, form="module"): wait for name in ("a", "b")})

    def overlap(jobs: int) -> bool:
        result = project.run(jobs=jobs, cache=False)
        (start_a, end_a), (start_b, end_b) = (map(float, stdout(result, n).split()) for n in ("a", "b"))
        return start_b < end_a and start_a < end_b

    assert overlap(2)
    assert not overlap(1)


def failing(make_project: MakeProject, **given: Any) -> Project:
    """first -> (bad -> after_bad), other."""
    return make_project(
        {
            step("first", cells=(1,), **gives("x")): "def first():\n    return 1\n",
            step("bad", cells=(3,), inputs=takes(x="first"), **gives("y"), **given): """
                def helper(x):
                    print("before")
                    return x / 0
                def bad(x):
                    return helper(x)
            """,
            step("after_bad", cells=(4,), inputs=takes(y="bad")): "def after_bad(y):\n    print(y)\n",
            step("other", cells=(5,), inputs=takes(x="first")): "def other(x):\n    print('fine')\n",
        }
    )


def test_a_failure_skips_what_depends_on_it_and_nothing_else(make_project: MakeProject) -> None:
    result = failing(make_project).run()
    assert statuses(result) == {"first": "succeeded", "bad": "failed", "after_bad": "skipped", "other": "succeeded"}
    assert result.to_json()["error"] == {
        "step": "bad", "cell": 3, "line": 3, "message": "ZeroDivisionError: division by zero",
    }  # fmt: skip
    bad = next(item for item in result.steps if item.name == "bad")
    assert bad.stdout.read_text() == "before\n"
    log = bad.stderr.read_text()
    assert log.endswith("step bad failed at cell 3 line 3: return x / 0\n")
    assert "ZeroDivisionError: division by zero" in log
    assert "task.py" not in log
    assert all(item.stdout.exists() and item.stderr.exists() for item in result.steps)


def test_a_failed_step_runs_again_and_the_others_do_not(make_project: MakeProject) -> None:
    project = failing(make_project)
    project.run()
    project.edit("bad", "def bad(x):\n    return x\n")
    result = project.run()
    assert statuses(result) == {"first": "cached", "bad": "succeeded", "after_bad": "succeeded", "other": "cached"}


@pytest.mark.parametrize(("retries", "status", "runs"), [(2, "succeeded", 3), (1, "failed", 2), (None, "failed", 1)])
def test_retries(make_project: MakeProject, tmp_path: Path, retries: int | None, status: str, runs: int) -> None:
    source = f"""
        import pathlib
        log = pathlib.Path({str(tmp_path / "log")!r})
        log.open("a").write("x")
        print(len(log.read_text()))
        assert not pathlib.Path("left").exists()
        pathlib.Path("left").touch()
        assert len(log.read_text()) == 3
    """
    project = make_project({step("shaky", form="module", resources=Resources(retries=retries)): source})
    result = project.run()
    assert result.status == status
    assert stdout(result, "shaky") == f"{runs}\n"


def test_a_step_over_its_time_limit_ends_with_its_children(make_project: MakeProject, tmp_path: Path) -> None:
    source = f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-c",
                        "import time; time.sleep(3); open({str(tmp_path / "late")!r}, 'w')"])
    """
    project = make_project({step("slow", form="module", resources=Resources(timeout=1)): source})
    started = time.monotonic()
    result = project.run()
    assert time.monotonic() - started < 2.5
    assert result.error is not None
    assert result.error.message == "timed out after 1 s"
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "ended by SIGKILL"),
        ("import os\nos._exit(7)\n", "exit status 7"),
        ("import os\nos._exit(0)\n", "exit status 0, before its code had come to its end"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("pass\n", "it ended without a value for x"),
        ("x = lambda: 1\n", "output x cannot be stored"),
    ],
)
def test_ways_to_fail(make_project: MakeProject, source: str, message: str) -> None:
    result = make_project({step("odd", form="module", **gives("x")): source}).run()
    assert result.error is not None
    assert message in result.error.message or message in result.steps[0].stderr.read_text()


def test_a_background_process_does_not_hold_the_step_up(make_project: MakeProject) -> None:
    source = "import subprocess\nsubprocess.Popen(['sleep', '60'])\nprint('done', end='')\n"
    project = make_project({step("daemon", form="module"): source})
    started = time.monotonic()
    result = project.run()
    assert time.monotonic() - started < 5
    assert stdout(result, "daemon") == "done"


def test_stdout_is_kept_byte_for_byte(make_project: MakeProject) -> None:
    source = r"""
        import os, sys
        print("a\r50%\r100%")
        sys.stdout.buffer.write(b"\xff\n")
        os.system("echo from a child")
        print("warn", file=sys.stderr)
        print("no end", end="")
    """
    result = make_project({step("noisy", form="module"): source}).run()
    assert result.steps[0].stdout.read_bytes() == b"a\r50%\r100%\n\xff\nfrom a child\nno end"
    assert result.steps[0].stderr.read_bytes() == b"warn\n"


def test_a_name_that_was_never_bound_stays_unbound(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("maker", form="module", maybe_unbound=("x",), **gives("x", "y")): "y = 1\nif not y:\n    x = 2\n",
            step("user", form="module", inputs=takes(x="maker", y="maker")): """
                try:
                    print(x)
                except NameError as error:
                    print(y, error)
            """,
        }
    )
    assert stdout(project.run(), "user") == "1 name 'x' is not defined\n"


def test_files_above_the_notebook_stay_in_the_steps_folder(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("writer", files_in=(InputFile("../in.txt"),), files_out=("../../up.txt", "folder"), form="module"): """
                import pathlib
                pathlib.Path("../../up.txt").write_text(pathlib.Path("../in.txt").read_text() + "!")
                pathlib.Path("folder/deep").mkdir(parents=True)
                pathlib.Path("folder/deep/a=b.txt").write_text("deep")
            """,
            step(
                "reader", files_in=(InputFile("../../up.txt", "writer"), InputFile("folder", "writer")), form="module"
            ): """
                print(open("../../up.txt").read(), open("folder/deep/a=b.txt").read())
                open("../../up.txt", "a").write("changed")
            """,
            step(
                "last", files_in=(InputFile("../../up.txt", "writer"),), form="module"
            ): "print(open('../../up.txt').read())\n",
        },
        input_files=("../in.txt",),
    )
    (project.root.parent / "in.txt").write_text("in")
    result = project.run()
    assert (stdout(result, "reader"), stdout(result, "last")) == ("in! deep\n", "in!\n")
    assert not (project.root.parent.parent / "up.txt").exists()


def test_a_file_that_a_step_did_not_write_is_its_failure(make_project: MakeProject) -> None:
    result = make_project({step("lazy", files_out=("out.txt",), form="module"): "pass\n"}).run()
    assert result.error is not None
    assert result.error.message == "it wrote no file out.txt"


def test_environment_and_secrets(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = Resources(
        env=(("MODE", "fast"),), secrets=(Secret("db", "key", "DB_KEY"),), accelerator="nvidia-l4", accelerators=1
    )
    project = make_project(
        {
            step(
                "env", form="module", resources=resources
            ): "import os\nprint(os.environ['MODE'], os.environ.get('DB_KEY'))\n"
        }
    )
    monkeypatch.delenv("DB_KEY", raising=False)
    assert stdout(project.run(), "env") == "fast None\n"
    notes = [event.text for event in project.events if event.kind == "note"]
    assert len(notes) == 2
    assert "nvidia-l4" in notes[0]
    assert "DB_KEY" in notes[1]


LEAVES = """
import os, tempfile
from pathlib import Path
Path(tempfile.gettempdir(), "mine").write_text("left")
tempfile.mkdtemp()
"""


@pytest.mark.parametrize("last", ["", "raise ValueError", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_in_the_temporary_folder(make_project: MakeProject, temporary: Path, last: str) -> None:
    project = make_project({step("leaves", form="module"): LEAVES + last})
    assert project.run().status == ("failed" if last else "succeeded")
    assert list(temporary.iterdir()) == []


def test_steps_of_a_run_have_one_temporary_folder_unless_they_ask_for_another(
    make_project: MakeProject, temporary: Path, tmp_path: Path
) -> None:
    reads = "import tempfile\nfolder = tempfile.gettempdir()\nprint(open(f'{folder}/mine').read(), folder)\n"
    own = Resources(env=(("TMPDIR", str(tmp_path)),))
    project = make_project(
        {
            step("leaves", form="module"): LEAVES,
            step("reads", form="module", after=("leaves",)): reads,
            step("own", form="module", resources=own): LEAVES,
        }
    )
    text, folder = stdout(project.run(), "reads").split()
    assert text == "left"
    assert Path(folder).parent == temporary  # sockets in it have short names
    assert (tmp_path / "mine").read_text() == "left"


PARAMETERS = (
    parameter("n", "int", 1),
    parameter("rate", "float", 0.5),
    parameter("name", "str", "a"),
    parameter("on", "bool", True),
    parameter("layers", "list", [1, (2, 3)]),
    parameter("table", "dict", {1: "x"}),
    parameter("nothing", "None", None),
    parameter("input", "str", "reserved"),
)
SHOW = """
    def show(n, rate, name, on, layers, table, nothing, input):
        print(repr([n, rate, name, on, layers, table, nothing, input]))
"""


@pytest.fixture
def shown(make_project: MakeProject) -> Project:
    return make_project({step("show", parameters=tuple(p.name for p in PARAMETERS)): SHOW}, parameters=PARAMETERS)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("n", "7", 7),
        ("n", -7, -7),
        ("n", 3.0, 3),
        ("rate", "1", 1.0),
        ("rate", "-1e-3", -0.001),
        ("rate", 2, 2.0),
        ("rate", "nan", float("nan")),
        ("name", "-p x=1 'q' \"r\" \n ü", "-p x=1 'q' \"r\" \n ü"),
        ("name", "", ""),
        ("name", "7", "7"),
        ("on", "false", False),
        ("on", False, False),
        ("layers", "[1, 2.0]", [1, 2.0]),
        ("layers", "(1, 'a')", (1, "a")),
        ("table", '{"a": null}', {"a": None}),
        ("table", "{2: True}", {2: True}),
        ("nothing", "null", None),
        ("nothing", "7", 7),
        ("nothing", "some text", "some text"),
        ("input", "x=y", "x=y"),
    ],
)
def test_parameters_arrive_with_value_and_type(shown: Project, name: str, given: object, value: object) -> None:
    defaults = {p.name: p.default for p in PARAMETERS}
    result = shown.run({name: given}, cache=False)
    assert stdout(result, "show") == repr(list((defaults | {name: value}).values())) + "\n"


WRONG = {
    "n": ["1.5", "x", True, 1.5, "9" * 5000],
    "rate": ["x"],
    "on": ["maybe", "1"],
    "layers": ["{}", "__import__('os')", "[" * 5000],
    "table": ["[]", "{"],
    "name": [3, "a\0b", "\ud800", "x" * 200_000],
}


@pytest.mark.parametrize(
    ("name", "given"),
    [pytest.param(name, value, id=f"{name}-{i}") for name, values in WRONG.items() for i, value in enumerate(values)],
)
def test_a_value_of_another_type_is_refused_before_anything_runs(shown: Project, name: str, given: object) -> None:
    with pytest.raises(ParameterError) as caught:
        shown.run({name: given})
    [found] = caught.value.findings
    assert (found.code, found.name) == ("parameter-type", name)
    assert not (shown.notebook_dir / ".nb2pipe" / "runs").exists()


def test_a_value_outside_of_its_bounds_is_refused() -> None:
    """The bounds are those of the compiled pipeline; values within them are taken."""
    graph = read_map(Path(__file__).parents[2] / "samples" / "taxi_fare_beam" / "golden")["pipeline"]
    for name, wrong, right in (("beam_num_workers", -1, 0), ("beam_runner", "dataflowrunner", "DataflowRunner")):
        assert parameter_texts(graph, {name: right})[name] == str(right)
        with pytest.raises(ParameterError) as caught:
            parameter_texts(graph, {name: wrong})
        [found] = caught.value.findings
        assert (found.code, found.name) == ("parameter-bounds", name)


def test_an_unknown_parameter_is_refused_with_the_near_miss(shown: Project) -> None:
    with pytest.raises(ParameterError) as caught:
        shown.run({"nmae": "x", "zzz": "y"})
    first, second = caught.value.findings
    assert (first.code, first.hint) == ("unknown-parameter", "Did you mean 'name'?")
    assert "rate" in second.hint


@pytest.mark.parametrize("content", [None, "{", "[]", '{"version": 1}', '{"version": 2, "pipeline": {}}'])
def test_a_folder_that_is_no_project(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "nb2pipe.map.json").write_text(content)
    with pytest.raises(ProjectError):
        run(tmp_path, {}, notebook_dir=tmp_path, runs_dir=tmp_path / "runs")


def test_metrics_of_the_same_label_take_the_step_before_it() -> None:
    assert merged_metrics({"a": {"rmse": 1, "n": 2}, "b": {"rmse": 3}, "c": {}}) == {"a.rmse": 1, "n": 2, "b.rmse": 3}


def test_metrics_that_are_no_finite_numbers(make_project: MakeProject) -> None:
    source = "import math\nmetrics = {'bad': math.nan, 'good': True, 'text': 'x'}\n"
    result = make_project({step("m", form="module", **measures("bad")): source}).run()
    assert result.to_json()["metrics"] == {"bad": None, "good": True}
    assert "metric text is left out" in result.steps[0].stderr.read_text()


RUN_FOREVER = """
import subprocess, sys, tempfile, time, pathlib
tempfile.mkstemp()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({pids!r}).write_text(f"{{child.pid}} {{__import__('os').getpid()}}")
time.sleep(60)
"""
DRIVER = """
import sys
from pathlib import Path
from nb2pipe.targets.local import run
base = Path(sys.argv[1])
try:
    run(base / "small", {}, notebook_dir=base / "notebook", runs_dir=base / "runs")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_child_and_leaves_nothing(
    make_project: MakeProject, tmp_path: Path, number: signal.Signals
) -> None:
    pids = tmp_path / "pids"
    make_project({step("forever", form="module"): RUN_FOREVER.format(pids=str(pids))})
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "temporary").mkdir()
    env = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    driver = subprocess.Popen([sys.executable, "-c", textwrap.dedent(DRIVER), str(tmp_path)], cwd=root, env=env)
    limit = time.monotonic() + 10
    while time.monotonic() < limit and not (pids.exists() and len(pids.read_text().split()) == 2):
        time.sleep(0.02)
    driver.send_signal(number)
    assert driver.wait(timeout=10) == 130
    for pid in map(int, pids.read_text().split()):
        assert not _alive(pid)
    assert list((tmp_path / "runs").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path for path in (tmp_path / "notebook").rglob("*") if path.is_file()] == []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in ("Z", "X")
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()


def test_targets_are_found_by_name() -> None:
    assert [load_target(name).name for name in ("local", "kfp")] == ["local", "kfp"]
