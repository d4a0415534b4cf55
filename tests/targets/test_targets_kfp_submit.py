"""Submitting to Kubeflow Pipelines: the real client against a strict server of the API, with faults."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_kfp import FakeKfp, Fault
from fake_kfp_runs import scripted
from small_project import MakeProject, Project, parameter, step

from nb2pipe.targets import kfp_submit
from nb2pipe.targets.base import ParameterError
from nb2pipe.targets.kfp import Kfp, compile
from nb2pipe.targets.kfp_api import Api
from nb2pipe.targets.logs import failure_in
from nb2pipe.targets.sending import SubmitError
from nb2pipe.targets.submission import KfpPlace, Patience, Submission, SubmitOptions, VertexPlace

PATIENCE = Patience(attempts=4, first=0.01, longest=0.02, answer=30, settle=0.05, poll=0.01)
ENVIRONMENT = (
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_UI_ENDPOINT",
    "KFP_TOKEN",
    "KFP_TOKEN_FILE",
    "KUBERNETES_SERVICE_HOST",
)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a login, or settings of the SDK, of whoever runs the tests."""
    import kfp

    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))


@pytest.fixture(scope="module")
def compiled_once() -> dict[str, bytes]:
    return {}


@pytest.fixture
def project(make_project: MakeProject, compiled_once: dict[str, bytes]) -> Project:
    """Two steps, one after the other, compiled."""
    made = make_project(
        {
            step("load", parameters=("rows",)): "def load(rows):\n    print(rows)\n",
            step("train", after=("load",)): "def train():\n    pass\n",
        },
        parameters=(parameter("rows", "int", 3),),
    )
    if not compiled_once:
        compiled_once["yaml"] = compile(made.root).read_bytes()
    (made.root / "pipeline.yaml").write_bytes(compiled_once["yaml"])
    return made


@pytest.fixture
def server() -> Iterator[FakeKfp]:
    with FakeKfp(scripted(DONE)).running() as running:
        yield running


DONE: Sequence[Mapping[str, str]] = (
    {"load": "RUNNING"},
    {"load": "SUCCEEDED", "train": "RUNNING"},
    {"train": "SUCCEEDED", "run": "SUCCEEDED"},
)
Submit = Callable[..., Submission]


@pytest.fixture
def submit(project: Project, server: FakeKfp) -> Submit:
    """Submits the project with these options; it is not compiled again."""

    def submitted(place: Mapping[str, Any] | None = None, **given: Any) -> Submission:
        where = KfpPlace(**{"host": server.url, **(place or {})})
        options = replace(SubmitOptions(kfp=where, patience=PATIENCE, home=project.notebook_dir), **given)
        copy = lambda output: Path(shutil.copy(project.root / "pipeline.yaml", output))  # noqa: E731
        return kfp_submit.submit(project.root, options, project.events.append, copy)

    return submitted


def the_run(server: FakeKfp) -> Any:
    [run] = server.runs.values()
    return run.message


def codes(caught: pytest.ExceptionInfo[Any]) -> list[str]:
    return [one.code for one in caught.value.findings]


# --- runs -------------------------------------------------------------------------------------------------------------
def test_a_run_is_started_with_its_arguments(server: FakeKfp, submit: Submit) -> None:
    options = {"experiment": "fares", "name": "first", "service_account": "runner", "bucket": "gs://bucket/root"}
    done = submit(parameters={"rows": "5"}, caching=False, **options)
    run = the_run(server)
    assert (done.state, done.name, done.id) == ("pending", "first", run.run_id)
    assert done.url == f"{server.url}/#/runs/details/{run.run_id}"
    assert (run.display_name, run.service_account) == ("first", "runner")
    assert run.runtime_config.parameters == {"rows": 5}
    assert run.runtime_config.pipeline_root == "gs://bucket/root"
    assert [one.display_name for one in server.experiments] == ["fares"]
    tasks = run.pipeline_spec["root"]["dag"]["tasks"].values()
    assert all(task["cachingOptions"] == {} for task in tasks)
    [request] = done.request
    assert request["body"]["runtime_config"]["parameters"] == {"rows": 5}
    submit()
    assert len(server.experiments) == 2
    submit()
    assert [one.display_name for one in server.experiments] == ["fares", "Default"]


def test_waiting_tells_the_steps_and_ends_with_the_run(project: Project, submit: Submit) -> None:
    done = submit(wait=True)
    assert done.state == "succeeded"
    assert [(one.name, one.state) for one in done.steps] == [("load", "succeeded"), ("train", "succeeded")]
    told = [(event.step, event.kind, event.status) for event in project.events if event.step]
    assert told == [
        ("load", "started", None), ("load", "finished", "succeeded"),
        ("train", "started", None), ("train", "finished", "succeeded"),
    ]  # fmt: skip


LOG = """\x1b[31m[KFP Executor] Traceback (most recent call last):
  File "/tmp/small/steps/load.py", line 2, in load
ValueError: no rows
step load failed at cell 4 line 2: check(rows)
RuntimeError: executor failed
"""


def test_a_failed_step_is_told_in_the_notebook_s_cells(server: FakeKfp, submit: Submit) -> None:
    server.start = scripted([{"load": "FAILED", "run": "FAILED"}], {"load": LOG})
    done = submit(wait=True)
    assert done.to_json()["error"] == {"step": "load", "cell": 4, "line": 2, "message": "ValueError: no rows"}
    assert [(one.name, one.state) for one in done.steps] == [("load", "failed"), ("train", "skipped")]


def test_a_failed_step_without_a_log_is_told_too(server: FakeKfp, submit: Submit) -> None:
    server.start = scripted([{"load": "FAILED", "run": "FAILED"}])
    error = submit(wait=True).to_json()["error"]
    assert (error["step"], error["cell"]) == ("load", None)


def test_logs_that_say_nothing() -> None:
    assert failure_in("") is None
    assert failure_in("a step of mine failed") is None
    assert failure_in("step load failed: out of memory") == {"cell": None, "line": None, "message": "out of memory"}


EXECUTOR = """Traceback (most recent call last):
  File "/tmp/tmp.u/fares/steps/report.py", line 9, in report
    raise ValueError("under null: ü")
ValueError: under null: ü

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/tmp/tmp.u/fares/task.py", line 189, in _execute
    raise StepError(step, reason, cell, line) from error
fares.task.StepError: step report failed at cell 3 line 4: raise ValueError("under null: ü")
F1128 main.go:79] failed to execute component: exit status 1
"""
JOB = """  File "/tmp/tmp.u/small/remote.py", line 200, in ended
    raise JobError(text)
small.remote.JobError: job small-train-1 failed: step train failed at cell 2 line 3: raise KeyError(k)
"""


def test_the_error_is_the_step_s_and_not_what_tells_it() -> None:
    assert failure_in(EXECUTOR) == {"cell": 3, "line": 4, "message": "ValueError: under null: ü"}
    assert failure_in(JOB) == {"cell": 2, "line": 3, "message": "raise KeyError(k)"}


def test_waiting_may_end_before_the_run(server: FakeKfp, submit: Submit) -> None:
    server.start = scripted([{"load": "RUNNING"}])
    with pytest.raises(SubmitError) as caught:
        submit(wait=True, patience=replace(PATIENCE, wait=0.02))
    assert codes(caught) == ["not-ended"]
    command = f"`nb2pipe runs show {the_run(server).run_id} --target kfp --host {server.url}`"
    assert command in caught.value.findings[0].hint
    assert the_run(server).state == "RUNNING"


def test_an_interruption_leaves_the_run(project: Project, server: FakeKfp, submit: Submit) -> None:
    import _thread

    def interrupt(run: Any) -> None:
        run.look = lambda run: threading.Timer(0.05, _thread.interrupt_main).start()

    server.start = interrupt
    with pytest.raises(KeyboardInterrupt):
        submit(wait=True, patience=replace(PATIENCE, poll=0.2))
    assert "the run goes on" in project.events[-1].text
    assert f"nb2pipe runs cancel {the_run(server).run_id} --target kfp --host {server.url}" in project.events[-1].text
    assert the_run(server).state == "PENDING"


# --- faults -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", [429, 500, 503, "lost", "half", "slow"])
def test_a_fault_at_the_run_is_overcome_and_nothing_runs_twice(
    server: FakeKfp, submit: Submit, what: int | str
) -> None:
    server.faults = [Fault("POST /apis/v2beta1/runs", what)]
    answer = 1.5 if what == "slow" else 30
    done = submit(name="same", patience=replace(PATIENCE, answer=answer))
    assert done.id == the_run(server).run_id
    assert server.asked("POST /apis/v2beta1/runs") == (1 if isinstance(what, str) else 2)


def test_a_run_that_the_server_makes_late_is_waited_for(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("POST /apis/v2beta1/runs", "late", after=3)]
    done = submit(patience=replace(PATIENCE, settle=30))
    assert done.id == the_run(server).run_id
    assert server.asked("POST /apis/v2beta1/runs") == 1


def test_a_run_that_the_server_makes_later_than_that_is_cancelled(
    server: FakeKfp, submit: Submit, project: Project
) -> None:
    server.faults = [Fault("POST /apis/v2beta1/runs", "late", after=3)]
    done = submit(name="same", patience=replace(PATIENCE, settle=0))
    assert server.asked("POST /apis/v2beta1/runs") == 3  # two runs, and the end of one
    states = {run.message.run_id: run.message.state for run in server.runs.values()}
    assert sorted(states.values()) == ["CANCELED", "PENDING"]
    assert states[str(done.id)] == "PENDING"
    assert "it is cancelled" in "".join(event.text for event in project.events)


def test_a_schedule_that_the_server_sets_late_is_not_there_twice(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("POST /apis/v2beta1/recurringruns", "late", after=3)]
    done = submit(schedule="0 6 * * *", patience=replace(PATIENCE, settle=0))
    assert server.asked("POST /apis/v2beta1/recurringruns") == 2
    assert [one.recurring_run_id for one in server.recurring] == [done.id]


def test_after_429_nothing_is_waited_for(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("POST /apis/v2beta1/runs", 429)]
    submit(patience=replace(PATIENCE, settle=3600))
    assert len(server.runs) == 1


def test_two_commands_at_the_same_time_share_experiment_and_pipeline(server: FakeKfp, submit: Submit) -> None:
    """The other command makes what this one has just looked for in vain."""
    for what in ("experiments", "pipelines", "pipelines/upload_version"):
        server.faults.append(Fault(f"POST /apis/v2beta1/{what}", "twice"))
    submit(upload=True)
    made = (server.experiments, server.pipelines, server.versions, server.runs)
    assert [len(one) for one in made] == [1, 1, 1, 1]


def test_an_earlier_run_of_the_same_name_is_not_taken_for_this_one(server: FakeKfp, submit: Submit) -> None:
    first = submit(name="same")
    server.faults = [Fault("POST /apis/v2beta1/runs", 503)]
    second = submit(name="same")
    assert first.id != second.id
    assert len(server.runs) == 2


@pytest.mark.parametrize("what", [500, "lost", "half"])
@pytest.mark.parametrize("at", ["experiments", "pipelines", "pipelines/upload_version", "recurringruns"])
def test_faults_elsewhere_are_overcome_without_a_second_copy(
    server: FakeKfp, submit: Submit, at: str, what: int | str
) -> None:
    server.faults = [Fault(f"POST /apis/v2beta1/{at}", what)]
    submit(upload=True, schedule="0 6 * * *")
    made = (server.experiments, server.pipelines, server.versions, server.recurring)
    assert [len(one) for one in made] == [1, 1, 1, 1]


def test_waiting_goes_on_through_faults(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("GET /apis/v2beta1/runs/", what) for what in (503, "half", 429)]
    assert submit(wait=True).state == "succeeded"


def test_a_server_that_stays_broken(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("/runs", 503)] * 4
    with pytest.raises(SubmitError) as caught:
        submit()
    assert codes(caught) == ["no-answer"]
    assert server.runs == {}


# --- login ------------------------------------------------------------------------------------------------------------
def test_a_token_that_is_renewed_in_its_file(server: FakeKfp, submit: Submit, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    server.tokens = {"old"}

    def start(run: Any) -> None:
        def expire(run: Any) -> None:
            server.tokens = {"new"}
            token.write_text("new\n")
            run.look = lambda run: setattr(run.message, "state", "SUCCEEDED")

        run.look = expire

    server.start = start
    assert submit({"token_file": token}, wait=True).state == "succeeded"


def test_a_token_is_needed_and_never_shown(server: FakeKfp, submit: Submit, project: Project) -> None:
    server.tokens = {"right"}
    for place in ({}, {"token": "s3cret-wrong"}):
        with pytest.raises(SubmitError) as caught:
            submit(place)
        assert codes(caught) == ["not-logged-in"]
        assert "KFP_TOKEN" in caught.value.findings[0].hint
        assert "s3cret" not in str(caught.value.findings) + str(project.events)
    done = submit({"token": "right"})
    assert "right" not in json.dumps(done.to_json()["request"])


def test_a_page_to_log_in_is_not_taken_for_an_answer(server: FakeKfp, submit: Submit) -> None:
    server.faults = [Fault("GET /apis/v2beta1/experiments", "page")]
    with pytest.raises(SubmitError) as caught:
        submit()
    assert codes(caught) == ["not-logged-in"]
    assert server.experiments == []


def test_several_namespaces(server: FakeKfp, submit: Submit) -> None:
    server.multi_user = True
    with pytest.raises(SubmitError) as caught:
        submit()
    assert codes(caught) == ["missing-place"]
    with pytest.raises(SubmitError) as caught:
        submit({"namespace": "forbidden"})
    assert codes(caught) == ["not-allowed"]
    assert "-n forbidden" in caught.value.findings[0].hint
    submit({"namespace": "team"})
    assert server.experiments[0].namespace == "team"


@pytest.mark.parametrize(
    ("change", "code", "hint"),
    [
        (lambda url: f"{url}/pipeline", "not-there", "/apis/v2beta1"),
        (lambda url: url.replace("http:", "https:"), "no-answer", "--ca FILE"),
        (lambda url: "http://nowhere.invalid", "no-answer", "port-forward"),
        (lambda url: "no host at all", "no-answer", "port-forward"),
    ],
)
def test_a_wrong_address_says_what_is_wrong_with_it(
    server: FakeKfp, submit: Submit, change: Callable[[str], str], code: str, hint: str
) -> None:
    with pytest.raises(SubmitError) as caught:
        submit({"host": change(server.url)})
    assert codes(caught) == [code]
    assert hint in caught.value.findings[0].hint
    assert server.runs == {}


def test_a_host_that_is_not_there(project: Project, submit: Submit) -> None:
    with FakeKfp().running() as gone:
        url = gone.url
    for host, code in ((None, "missing-place"), (url, "no-answer")):
        with pytest.raises(SubmitError) as caught:
            submit({"host": host}, patience=replace(PATIENCE, attempts=2))
        assert codes(caught) == [code]
        assert "port-forward" in caught.value.findings[0].hint


# --- checks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"labels": {"a": "b"}}, "not-for-target"),
        ({"vertex": VertexPlace(cmek="key")}, "not-for-target"),
        ({"name": "n" * 256}, "bad-run-option"),
        ({"experiment": "n" * 129}, "bad-run-option"),
        ({"experiment": "ü" * 65}, "bad-run-option"),
        ({"schedule": "every day"}, "bad-schedule"),
        ({"bucket": "bucket"}, "bad-bucket"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    server: FakeKfp, submit: Submit, given: dict[str, Any], code: str
) -> None:
    with pytest.raises(SubmitError) as caught:
        submit(**given)
    assert codes(caught) == [code]
    assert server.requests == []


def test_a_pipeline_beyond_the_cluster_s_limit(
    server: FakeKfp, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kfp_submit, "LARGEST_PIPELINE", 2000)
    with pytest.raises(SubmitError) as caught:
        submit()
    assert codes(caught) == ["beyond-limit"]
    assert server.requests == []


def test_the_server_s_own_limit_is_the_same(server: FakeKfp) -> None:
    import fake_kfp

    assert kfp_submit.LARGEST_PIPELINE == fake_kfp.LARGEST_REQUEST


def test_a_secret_as_a_value_is_neither_sent_nor_shown(server: FakeKfp, submit: Submit) -> None:
    secret = "mysql://reader:hunter2@db/shop"
    with pytest.raises(ParameterError) as caught:
        submit(parameters={"rows": secret})
    assert "hunter2" not in str(caught.value.findings)
    assert server.requests == []


@pytest.mark.parametrize("given", [{}, {"schedule": "0 6 * * *", "service_account": "runner", "bucket": "gs://bu-1/r"}])
def test_a_dry_run_is_what_is_sent_and_sends_nothing(
    server: FakeKfp, submit: Submit, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.setattr("nb2pipe.targets.kfp_submit.new_id", lambda: "0123456789ab")
    done = submit(dry_run=True, parameters={"rows": 4}, name="first", **given)
    assert (done.state, done.url, server.requests) == ("dry-run", None, [])
    real = submit(parameters={"rows": 4}, name="first", **given)
    posts = [(at, body) for at, body in zip(server.requests, server.bodies, strict=True) if at.startswith("POST ")]
    [experiment] = [one.experiment_id for one in server.experiments]
    shown = json.dumps(done.request).replace("EXPERIMENT_ID", str(experiment))
    assert [(row["what"].partition(",")[0], row["body"]) for row in json.loads(shown)] == [
        (at, json.loads(body)) for at, body in posts
    ]
    assert real.request == [json.loads(shown)[-1]]


def test_a_dry_run_needs_no_place(submit: Submit) -> None:
    assert submit({"host": None}, dry_run=True).state == "dry-run"


def test_names_may_be_in_any_script(server: FakeKfp, submit: Submit) -> None:
    done = submit(name="прогон-試し", experiment="ü" * 64)
    assert (done.name, the_run(server).display_name) == ("прогон-試し", "прогон-試し")
    assert server.experiments[0].display_name == "ü" * 64
    assert submit(schedule="0 6 * * *", name="täglich").name == "täglich"


# --- schedules, uploads -----------------------------------------------------------------------------------------------
def test_a_schedule_is_replaced_by_its_name(server: FakeKfp, submit: Submit) -> None:
    first = submit(schedule="0 6 * * *", parameters={"rows": 1})
    other = submit(schedule="0 6 * * *", name="other")
    second = submit(schedule="30 7 * * 1-5", parameters={"rows": 2})
    assert [one.recurring_run_id for one in server.recurring] == [other.id, second.id]
    assert (first.name, second.name, second.state) == ("small", "small", "scheduled")
    kept = server.recurring[-1]
    assert kept.trigger.cron_schedule.cron == "0 30 7 * * 1-5"
    assert kept.runtime_config.parameters == {"rows": 2}
    assert server.runs == {}


def test_a_schedule_of_somebody_else_is_not_replaced(server: FakeKfp, submit: Submit) -> None:
    submit(schedule="0 6 * * *")
    server.recurring[0].description = "by hand"
    with pytest.raises(SubmitError) as caught:
        submit(schedule="0 6 * * *")
    assert codes(caught) == ["bad-run-option"]
    assert len(server.recurring) == 1


def test_a_deletion_whose_answer_is_lost(server: FakeKfp, submit: Submit) -> None:
    submit(schedule="0 6 * * *")
    server.faults = [Fault("DELETE /apis/v2beta1/recurringruns", "lost")]
    second = submit(schedule="0 6 * * *")
    assert [one.recurring_run_id for one in server.recurring] == [second.id]


def test_a_pipeline_is_uploaded_once_for_its_content(server: FakeKfp, submit: Submit) -> None:
    for _ in range(2):
        done = submit(upload=True, wait=True)
        assert [one.name for one in done.steps] == ["load", "train"]
    submit(upload=True, caching=False)
    assert [one.name for one in server.pipelines] == ["small"]
    versions = [one.pipeline_version_id for one in server.versions]
    used = [run.message.pipeline_version_reference.pipeline_version_id for run in server.runs.values()]
    assert used == [versions[0], versions[0], versions[1]]


# --- nb2pipe runs -----------------------------------------------------------------------------------------------------
def asked(server: FakeKfp, **given: Any) -> SubmitOptions:
    return SubmitOptions(kfp=KfpPlace(host=server.url), patience=PATIENCE, **given)


def nothing(event: Any) -> None:
    """Tells nobody."""


def test_runs_are_listed_newest_first(server: FakeKfp, submit: Submit) -> None:
    for number in range(3):
        submit(name=f"run-{number}", experiment="odd" if number % 2 else "even")
    names = [run.name for run in Kfp().list_runs(asked(server), 2, nothing)]
    assert names == ["run-2", "run-1"]
    assert [run.name for run in Kfp().list_runs(asked(server, experiment="even"), 9, nothing)] == ["run-2", "run-0"]
    with pytest.raises(SubmitError) as caught:
        Kfp().list_runs(asked(server, experiment="nope"), 9, nothing)
    assert codes(caught) == ["not-there"]


def test_lists_are_read_page_by_page(server: FakeKfp, submit: Submit) -> None:
    submit()
    one = the_run(server)
    server.runs = {str(number): replace(server.runs[one.run_id]) for number in range(150)}
    assert len(Kfp().list_runs(asked(server), 120, nothing)) == 120
    assert server.asked("GET /apis/v2beta1/runs") == 2


def test_a_run_is_shown_and_cancelled(server: FakeKfp, submit: Submit) -> None:
    server.start = scripted([{"load": "RUNNING"}])
    run = submit(upload=True).id or ""
    assert [(s.name, s.state) for s in Kfp().show_run(run, asked(server), nothing).steps] == [
        ("load", "running"), ("train", "pending"),
    ]  # fmt: skip
    assert Kfp().cancel_run(run, asked(server), nothing).state == "cancelled"
    assert Kfp().cancel_run(run, asked(server), nothing).state == "cancelled"
    assert server.asked(":terminate") == 1
    with pytest.raises(SubmitError) as caught:
        Kfp().show_run("nope", asked(server), nothing)
    assert codes(caught) == ["not-there"]


def test_the_pod_s_own_token_is_used(server: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("pod")
    server.tokens = {"pod"}
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert Api(asked(server), nothing).namespace() is None
