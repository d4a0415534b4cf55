"""Pipeline jobs, schedules and experiments of fake_vertex.py: what was submitted is run by kfp.local, task by task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fake_vertex_checks import Refused, check_schedule, must, parsed
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

Query = Mapping[str, list[str]]
RUN_IR = Path(__file__).with_name("run_ir.py")
STARTED = re.compile(r"Executing task \S*'([^']+)'")
ENDED = re.compile(r"Task \S*'([^']+)'\S* finished with status \S*?(SUCCESS|FAILURE)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What Google's own SDK asks for.
READ_MASK = {"name", "state", "display_name", "pipeline_spec.pipeline_info", "create_time", "start_time", "end_time",
             "update_time", "labels", "template_uri"}  # fmt: skip
TERMS = {
    "labels": lambda job, key, value: job.labels.get(key) == value,
    "display_name": lambda job, key, value: job.display_name == value,
    "schedule_name": lambda job, key, value: job.schedule_name == value,
}


def now() -> Any:
    """This moment, as messages have it."""
    return datetime.now(timezone.utc)


def job_id(given: str) -> str:
    """The id that a request gives to its job; refused if it cannot be one."""
    must(re.fullmatch(r"[a-z][a-z0-9-]{0,126}", given), f"pipelineJobId {given!r}")
    return given


# --- running ----------------------------------------------------------------------------------------------------------
def run(job: Any, server: Any) -> str:
    """Runs a pipeline job; returns why it failed, "" if it did not. Where nothing is executed it runs until its end."""
    if not server.executes:
        job.set("RUNNING")
        job.stopped.wait(60)
        return "it was not executed"
    message, name = job.message, job.message.name.rpartition("/")[2]
    bucket = message.runtime_config.gcs_output_directory.removeprefix("gs://").partition("/")[0]
    if not (server.buckets / bucket).is_dir():
        return f"The bucket gs://{bucket} does not exist, or the service account may not use it."
    store = f"{message.name.partition('/pipelineJobs/')[0]}/metadataStores/default"
    context = types.Context(name=f"{store}/contexts/{name}", schema_title="system.PipelineRun", display_name=name)
    server.contexts[context.name] = context
    with job.changed:
        message.start_time = now()
        message.job_detail.pipeline_run_context = context
        # The pipeline itself is a task too, whose parts the others are.
        message.job_detail.task_details.append(_task(name, 1, "RUNNING"))
    job.set("RUNNING")
    place = server.folder / name
    place.mkdir()
    settings = place / "settings.json"
    settings.write_text(json.dumps(_settings(message, server)))
    env = _environment(server)
    with subprocess.Popen(
        [sys.executable, str(RUN_IR), str(settings)], env=env, cwd=place, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        reason = _followed(job, server, child, place / "log")
    with job.changed:
        message.end_time = now()
        ended = "CANCELLED" if job.stopped.is_set() else "FAILED" if reason else "SUCCEEDED"
        for task in message.job_detail.task_details:
            if task.state.name in ("PENDING", "RUNNING"):
                task.state = types.PipelineTaskDetail.State[ended]
    return reason


def _settings(message: Any, server: Any) -> dict[str, Any]:
    """What run_ir.py is told: platform values are filled in, and each bucket is a folder, as in a container."""
    spec = json.dumps(json_format.MessageToDict(type(message).pb(message).pipeline_spec))
    project, location = message.name.split("/")[1:4:2]
    spec = spec.replace("{{$.pipeline_google_cloud_project_id}}", project)
    spec = spec.replace("{{$.pipeline_google_cloud_location}}", location)
    plain = json_format.MessageToDict(type(message).pb(message))["runtimeConfig"]
    values = {name: _mounted(value, server.buckets) for name, value in plain.get("parameterValues", {}).items()}
    whole = json.loads(spec)
    kinds = whole["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {n: int(v) if kinds[n]["parameterType"] == "NUMBER_INTEGER" else v for n, v in values.items()}
    return {"spec": whole, "arguments": values, "root": _mounted(plain["gcsOutputDirectory"], server.buckets)}


def _mounted(value: Any, buckets: Path) -> Any:
    return str(buckets / value.removeprefix("gs://")) if isinstance(value, str) and value.startswith("gs://") else value


def _environment(server: Any) -> dict[str, str]:
    """A container's environment: nothing of this process but where Python is, and how to find the cloud."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        **server.environment(),
    }


def _followed(job: Any, server: Any, child: Any, log: Path) -> str:
    """Reads what the run says until it ends, and what of its tasks that is; returns why it failed, or ""."""
    current, failed = "", ""
    with log.open("w") as file:
        for line in child.stdout:
            file.write(line)
            text = COLOUR.sub("", line.rstrip("\n"))
            started, ended = STARTED.search(text), ENDED.search(text)
            if started:
                current = started[1]
                _advance(job, server, current, "RUNNING")
            elif ended:
                failed = failed or (ended[1] if ended[2] == "FAILURE" else "")
                _advance(job, server, ended[1], "FAILED" if ended[2] == "FAILURE" else "SUCCEEDED")
                current = ""
            elif current:
                with server.google.lock:
                    server.google.logs[_number(job, current)].append(text.strip("\n"))
            if job.stopped.is_set():
                child.terminate()
    if child.wait() and not failed and not job.stopped.is_set():
        return f"the pipeline could not be run: {log.read_text()[-500:]}"
    # The words of Vertex AI.
    return f"The DAG failed because some tasks failed. The failed tasks are: [{failed}]." if failed else ""


def _advance(job: Any, server: Any, task: str, state: str) -> None:
    with job.changed:
        details = job.message.job_detail.task_details
        found = next((row for row in details if row.task_name == task), None)
        if found is None:
            number = str(8000 + len(server.google.logs))
            details.append(_task(task, len(details) + 1, state))
            found = details[-1]
            found.start_time = now()
            found.executor_detail.container_detail.main_job = (
                f"{job.message.name.partition('/pipelineJobs/')[0]}/customJobs/{number}"
            )
            server.google.logs[number] = []
        found.state = types.PipelineTaskDetail.State[state]
        if state in ("SUCCEEDED", "FAILED"):
            found.end_time = now()
        if state == "FAILED":
            found.error.code, found.error.message = 9, "The replica workerpool0-0 exited with a non-zero status of 1."


def _task(name: str, number: int, state: str) -> Any:
    parent = 1 if number > 1 else 0
    return types.PipelineTaskDetail(
        task_id=number, parent_task_id=parent, task_name=name, state=types.PipelineTaskDetail.State[state]
    )


def _number(job: Any, task: str) -> str:
    rows = job.message.job_detail.task_details
    return next(row.executor_detail.container_detail.main_job for row in rows if row.task_name == task).rpartition("/")[
        2
    ]


# --- lists ------------------------------------------------------------------------------------------------------------
def listed(kind: Any, field: str, rows: list[Any], query: Query) -> Any:
    """The answer to a list: filtered, in the order asked for, a page of it."""
    given = {key: values[0] for key, values in query.items()}
    must(given.keys() <= {"filter", "orderBy", "pageSize", "pageToken", "readMask"}, f"not understood: {given.keys()}")
    for term in filter(None, given.get("filter", "").split(" AND ")):
        found = re.fullmatch(r'(\w+)(?:\.([\w-]+))?="([^"]*)"', term)
        must(found and found[1] in TERMS, f"not understood: {term}")
        assert found
        rows = [row for row in rows if TERMS[found[1]](row, found[2], found[3])]
    must(given.get("orderBy", "create_time desc") in ("create_time desc", "create_time"), "orderBy")
    rows = sorted(rows, key=lambda row: row.create_time, reverse=given.get("orderBy") == "create_time desc")
    mask = set(filter(None, given.get("readMask", "").split(",")))
    must({_snake(name) for name in mask} <= READ_MASK, f"readMask {mask - READ_MASK}")
    first, size = int(given.get("pageToken", "0")), int(given.get("pageSize", "100"))
    must(1 <= size <= 100, "pageSize is between 1 and 100")
    page, more = rows[first : first + size], len(rows) > first + size
    found_rows = [_masked(row, {_snake(name) for name in mask}) if mask else row for row in page]
    return kind(**{field: found_rows}, next_page_token=str(first + size) if more else "")


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _masked(message: Any, mask: set[str]) -> Any:
    """The message with the fields of a mask only."""
    kept = type(message)()
    for name in mask - {"pipeline_spec.pipeline_info"}:
        if name in message:
            setattr(kept, name, getattr(message, name))
    return kept


# --- schedules --------------------------------------------------------------------------------------------------------
def schedules(server: Any, method: str, path: str, verb: str | None, query: Query, body: bytes) -> Any:
    """Answers what is asked of schedules."""
    name = path.partition(":")[0]
    if name.endswith("/schedules"):
        if method == "GET":
            return listed(types.ListSchedulesResponse, "schedules", list(server.schedules.values()), query)
        must(method == "POST" and not query, f"{method} {path}")
        message = parsed(types.Schedule, body)
        check_schedule(message, name.removesuffix("/schedules"))
        must(not message.name and not message.state, "name and state are given by the service")
        message.name = f"{name}/{len(server.schedules) + 501}"
        message.state, message.create_time = types.Schedule.State.ACTIVE, now()
        message.next_run_time = now()
        server.schedules[message.name] = message
        return types.Schedule(message)
    if name not in server.schedules:
        raise Refused(404, f"{name} does not exist")
    if method == "PATCH" and verb is None:
        server.schedules[name] = _patched(server.schedules[name], body, query)
    elif (method, verb) in (("POST", "pause"), ("POST", "resume")):
        server.schedules[name].state = types.Schedule.State["PAUSED" if verb == "pause" else "ACTIVE"]
        return {}
    elif method != "GET" or verb:
        raise Refused(404, f"{method} {path} is not known")
    return types.Schedule(server.schedules[name])


def _patched(before: Any, body: bytes, query: Query) -> Any:
    """A schedule with the fields that a mask names; what was set cannot be unset."""
    must(query.keys() == {"updateMask"}, f"updateMask is required, and nothing else: {query}")
    after = parsed(types.Schedule, body)
    must(after.name in ("", before.name), f"name {after.name}")  # it stands in the path
    names = [_snake(name) for name in query["updateMask"][0].split(",")]
    known = {"display_name", "cron", "start_time", "end_time", "max_run_count", "max_concurrent_run_count",
             "allow_queueing", "create_pipeline_job_request"}  # fmt: skip
    must(set(names) <= known, f"{set(names) - known} cannot be updated")
    for name in names:
        must(name in after or name not in before, f"{name} cannot be unset")
    changed = types.Schedule(before)
    for name in names:
        setattr(changed, name, getattr(after, name))
    check_schedule(changed, before.name.partition("/schedules/")[0])
    changed.update_time = now()
    return changed


def fire(server: Any, name: str) -> Any:
    """What a schedule does at its time: starts its pipeline."""
    schedule = server.schedules[name]
    message = types.PipelineJob(schedule.create_pipeline_job_request.pipeline_job)
    message.schedule_name = name
    schedule.started_run_count += 1
    return server.start("pipelineJobs", message, f"scheduled-{name.rpartition('/')[2]}-{schedule.started_run_count}")


# --- experiments ------------------------------------------------------------------------------------------------------
CONTEXT = re.compile(r"projects/[^/]+/locations/[^/]+/metadataStores/default/contexts/([a-z0-9][a-z0-9-]{0,127})")


def metadata(server: Any, method: str, path: str, verb: str | None, query: Query, body: bytes) -> Any:
    """Answers what is asked of the metadata store: contexts, and what is in which."""
    name = path.partition(":")[0]
    if name.endswith("/metadataStores/default") and method == "GET":
        return types.MetadataStore(name=name)
    if name.endswith("/contexts") and method == "POST":
        must(query.keys() == {"contextId"}, "contextId")
        whole = f"{name}/{query['contextId'][0]}"
        must(CONTEXT.fullmatch(whole), f"contextId {whole}")
        if whole in server.contexts:
            raise Refused(409, f"{whole} already exists")
        context = parsed(types.Context, body)
        must(context.schema_title == "system.Experiment" and context.schema_version, "schema_title and schema_version")
        context.name = whole
        server.contexts[whole] = context
        return types.Context(context)
    if name not in server.contexts:
        raise Refused(404, f"{name} does not exist")
    if (method, verb) == ("POST", "addContextChildren"):
        given = parsed(types.AddContextChildrenRequest, body)
        for child in given.child_contexts:
            must(child in server.contexts, f"{child} does not exist")
            server.contexts[child].parent_contexts.append(name)
        return {}
    must((method, verb) == ("GET", None), f"{method} {path}")
    return types.Context(server.contexts[name])


COLLECTIONS: Mapping[str, Callable[..., Any]] = {"schedules": schedules, "metadataStores": metadata}
