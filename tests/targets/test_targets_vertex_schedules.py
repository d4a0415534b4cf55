"""Schedules on Vertex AI: one for a name, whatever happens on the way; and the strictness of the stand-in itself."""

from __future__ import annotations

import copy
import json
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import pytest
from vertex_place import Submit

pytest.importorskip("google.cloud.aiplatform_v1")
fake_vertex = pytest.importorskip("fake_vertex")
PARENT = "/v1/projects/test-project/locations/us-central1"
SCHEDULES = f"{PARENT}/schedules"


def test_a_schedule_is_set_and_then_changed(vertex: Any, submit: Submit) -> None:
    made = submit(schedule="0 6 * * *")
    assert (made.state, made.name) == ("scheduled", "sums")
    assert made.request[-1]["what"] == f"POST {vertex.url}{SCHEDULES}"
    [schedule] = vertex.schedules.values()
    assert (schedule.cron, schedule.max_concurrent_run_count) == ("0 6 * * *", 1)
    schedule.max_concurrent_run_count = 3  # in the console
    changed = submit(schedule="CRON_TZ=Europe/Berlin 30 7 * * 1-5", parameters={"rows": 1})
    assert changed.id == made.id
    assert changed.request[-1]["what"].startswith(f"PATCH {vertex.url}{SCHEDULES}/{made.id}?updateMask=cron,")
    [schedule] = vertex.schedules.values()
    assert (schedule.cron, schedule.max_concurrent_run_count) == ("CRON_TZ=Europe/Berlin 30 7 * * 1-5", 3)
    job = schedule.create_pipeline_job_request.pipeline_job
    assert dict(job.runtime_config.parameter_values)["rows"] == 1
    assert not vertex.jobs


def test_schedules_of_other_names_stay(vertex: Any, submit: Submit) -> None:
    submit(schedule="0 6 * * *")
    submit(schedule="0 7 * * *", name="later")
    assert [(row.display_name, row.cron) for row in vertex.schedules.values()] == [
        ("sums", "0 6 * * *"), ("later", "0 7 * * *"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["lost", 503, "cut"])
def test_no_fault_makes_a_second_schedule(vertex: Any, submit: Submit, what: int | str) -> None:
    vertex.faults.append(fake_vertex.Fault(f"POST {SCHEDULES}", what))
    made = submit(schedule="0 6 * * *")
    [schedule] = vertex.schedules.values()
    assert schedule.name.endswith(f"/{made.id}")


def test_one_that_is_paused_stays_so_and_one_that_ended_is_left(vertex: Any, submit: Submit, events: list[Any]) -> None:
    from google.cloud.aiplatform_v1 import types

    first = submit(schedule="0 6 * * *")
    [schedule] = vertex.schedules.values()
    schedule.state = types.Schedule.State.PAUSED
    assert submit(schedule="0 7 * * *").id == first.id
    assert "paused" in events[-1].text
    vertex.schedules[schedule.name].state = types.Schedule.State.COMPLETED
    assert submit(schedule="0 8 * * *").id != first.id


@pytest.mark.parametrize("vertex", ["executes"], indirect=True)
def test_what_a_schedule_starts_runs(vertex: Any, submit: Submit) -> None:
    from fake_vertex_pipelines import fire

    made = submit(schedule="0 6 * * *", parameters={"rows": 2})
    job = fire(vertex, f"projects/test-project/locations/us-central1/schedules/{made.id}")
    vertex.jobs[job.name].thread.join(60)
    assert vertex.jobs[job.name].message.state.name == "PIPELINE_STATE_SUCCEEDED"


# --- the stand-in -----------------------------------------------------------------------------------------------------
Damage = Callable[[dict[str, Any]], Any]


def posted(vertex: Any, query: str, body: Any) -> tuple[int, str]:
    """The status and the text that a pipeline job gets."""
    token = "ya29.test"
    vertex.google.tokens.add(token)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{vertex.url}{PARENT}/pipelineJobs{query}", json.dumps(body).encode(), headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda body: body.update(displayname="x"), "displayname"),
        (lambda body: body.update(state="PIPELINE_STATE_RUNNING"), "state is output only"),
        (lambda body: body["runtimeConfig"].update(failurePolicy="QUICK"), "failurePolicy"),
        (lambda body: body["runtimeConfig"].pop("gcsOutputDirectory"), "gcs_output_directory"),
        (lambda body: body["runtimeConfig"]["parameterValues"].update(rows="2"), "parameter rows"),
        (lambda body: body["runtimeConfig"]["parameterValues"].update(rows=2.5), "parameter rows"),
        (lambda body: body["runtimeConfig"]["parameterValues"].update(nope=2), "no parameter nope"),
        (lambda body: body["pipelineSpec"].update(schemaVersion="2.0.0"), "schemaVersion"),
        (lambda body: body["pipelineSpec"]["root"].update(taks={}), "taks"),
        (lambda body: body["pipelineSpec"]["components"].pop("comp-load"), "its component is not there"),
        (lambda body: body["pipelineSpec"]["deploymentSpec"]["executors"].pop("exec-load"), "its executor"),
        (lambda body: body.update(labels={"A": "b"}), "label A"),
    ],
)
def test_the_stand_in_refuses_what_the_service_would(vertex: Any, submit: Submit, damage: Damage, says: str) -> None:
    body = copy.deepcopy(submit(dry_run=True, parameters={"rows": 2}).request[-1]["body"])
    assert posted(vertex, "?pipelineJobId=right", body)[0] == 200
    damage(body)
    status, text = posted(vertex, "?pipelineJobId=wrong", body)
    assert (status, says in text) == (400, True), text
    assert posted(vertex, "?pipelineJobId=No_Id", body)[0] == 400
