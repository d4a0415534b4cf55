"""Runs on Vertex AI: started once, waited for, listed, shown and cancelled; schedules made or changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from nb2pipe.findings import finding
from nb2pipe.targets.base import Event, OnEvent, Status
from nb2pipe.targets.logs import failure_in
from nb2pipe.targets.sending import SubmitError, late
from nb2pipe.targets.storage import Staged, upload
from nb2pipe.targets.submission import ENDED, State, StepState, Submission, SubmitOptions
from nb2pipe.targets.vertex_api import Api
from nb2pipe.targets.vertex_request import EXPERIMENT, MARK, Plan, located, parent, requests

STATES: Mapping[str, State] = {
    "RUNNING": "running",
    "CANCELLING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}
"""Ours for the states of a pipeline; all others are before its start."""

STEP_STATES: Mapping[str, str] = {
    **STATES,
    "CANCEL_PENDING": "running",
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "skipped",
}
LOG_LINES = 400
CONSOLE = "https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/{kind}/{id}?project={project}"


def started(plan: Plan, files: Staged, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """Uploads, starts the job or sets the schedule, and waits if that was asked for. Raises SubmitError."""
    api = Api(options, on_event)
    api.find_bucket()
    upload(files, options.patience, on_event)
    if plan.schedule is not None:
        return _scheduled(api, plan, files, options, on_event)
    if plan.experiment:
        _make_experiment(api, plan.experiment, options)
    job = _created(api, plan, options)
    found = replace(submission(job, options), request=requests(plan, files))
    on_event(Event("note", None, f"{found.name}: {found.url}"))
    if plan.experiment:
        _join_experiment(api, plan, options)
    return _awaited(api, found, options, on_event) if options.wait else found


# --- a job, once ------------------------------------------------------------------------------------------------------
def _created(api: Api, plan: Plan, options: SubmitOptions) -> Any:
    """The job that the plan is for: made by this command, and by one request only."""
    from google.api_core.exceptions import Conflict, NotFound
    from google.cloud.aiplatform_v1 import types

    name = f"{parent(options)}/pipelineJobs/{plan.id}"

    def made(**settings: Any) -> Any | None:
        """The job, if an attempt whose answer was lost made it."""
        try:
            found = api.pipelines.get_pipeline_job(name=name, **settings)
        except NotFound:
            return None
        return found if found.labels.get(MARK) == plan.mark else None

    def create(settings: dict[str, Any]) -> Any:
        try:
            return api.pipelines.create_pipeline_job(
                parent=parent(options),
                pipeline_job=_message(types.PipelineJob, plan.body),
                pipeline_job_id=plan.id,
                **settings,
            )
        except Conflict:
            found = made(**settings)
            if found is None:
                raise
            return found

    settings: Any = {"retry": None, "timeout": options.patience.answer}
    return api.ask(create, "start the pipeline", already=lambda error: made(**settings))


def _message(kind: Any, body: Any) -> Any:
    from google.protobuf import json_format

    message = kind()
    json_format.ParseDict(body, kind.pb(message))
    return message


# --- schedules --------------------------------------------------------------------------------------------------------
def _scheduled(api: Api, plan: Plan, files: Staged, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """The schedule of the plan's name, made or, where there is one, changed: never a second one."""
    from google.cloud.aiplatform_v1 import types

    message = _message(types.Schedule, plan.schedule)
    known = api.ask(lambda settings: _schedules(api, plan, settings), "look for the schedule")
    sent_rows = requests(plan, files)
    if known:
        message.name = known[0].name
        mask = {"paths": ["cron", "create_pipeline_job_request"]}
        result = api.ask(
            lambda settings: api.schedules.update_schedule(schedule=message, update_mask=mask, **settings),
            "change the schedule",
        )
        host = plan.url.partition("/v1/")[0]
        sent_rows[-1] |= {"what": f"PATCH {host}/v1/{message.name}?updateMask={','.join(mask['paths'])}"}
    else:
        settings: dict[str, Any] = {"retry": None, "timeout": options.patience.answer}
        result = api.ask(
            lambda settings: api.schedules.create_schedule(
                parent=plan.url.partition("/v1/")[2], schedule=message, **settings
            ),
            "set the schedule",
            already=lambda error: late(
                lambda: next(_made_now(_schedules(api, plan, settings), plan), None), error, options.patience
            ),
        )
    _tell_schedules(known, on_event)
    number = result.name.rpartition("/")[2]
    return Submission(
        "vertex",
        "scheduled",
        plan.name,
        CONSOLE.format(kind="schedules", id=number, region=api.region, project=api.project),
        number,
        sent_rows,
        _iso(result.create_time),
        message=f"{result.cron}, next at {_iso(result.next_run_time)}",
    )


def _schedules(api: Api, plan: Plan, settings: dict[str, Any]) -> list[Any]:
    """The schedules of the plan's name that have not ended, the newest first."""
    asked = {
        "parent": plan.url.partition("/v1/")[2],
        "filter": f'display_name="{plan.name}"',
        "order_by": "create_time desc",
    }
    found = api.schedules.list_schedules(request=asked, **settings)
    return [row for row in found if row.state.name != "COMPLETED" and row.display_name == plan.name]


def _made_now(rows: list[Any], plan: Plan) -> Iterator[Any]:
    return (row for row in rows if row.create_pipeline_job_request.pipeline_job.labels.get(MARK) == plan.mark)


def _tell_schedules(known: list[Any], on_event: OnEvent) -> None:
    for row in known[1:]:
        on_event(Event("note", None, f"another schedule has this name and was left as it is: {row.name}"))
    if known and known[0].state.name == "PAUSED":
        on_event(Event("note", None, "the schedule is paused: resume it in the console"))


# --- experiments ------------------------------------------------------------------------------------------------------
def _make_experiment(api: Api, name: str, options: SubmitOptions) -> None:
    """Makes the experiment unless it is there: before the job, so that nothing runs where that is not allowed."""
    from google.api_core.exceptions import Conflict
    from google.cloud.aiplatform_v1 import types

    store = f"{parent(options)}/metadataStores/default"
    experiment = types.Context(
        display_name=name,
        schema_title="system.Experiment",
        schema_version="0.0.1",
        metadata={"experiment_deleted": False},
    )

    def create(settings: dict[str, Any]) -> None:
        try:
            api.metadata.create_context(parent=store, context=experiment, context_id=name, **settings)
        except Conflict:
            return

    api.ask(create, f"make the experiment {name}")
    found = api.ask(lambda settings: api.metadata.get_context(name=f"{store}/contexts/{name}", **settings), "find it")
    if found.schema_title != "system.Experiment":
        raise SubmitError(
            [finding("bad-run-option", f"{name} is no experiment but a {found.schema_title}.", name=name)]
        )


def _join_experiment(api: Api, plan: Plan, options: SubmitOptions) -> None:
    """Puts the run into its experiment, as soon as Vertex AI has made a place for it there."""
    store = f"{parent(options)}/metadataStores/default"
    until = time.monotonic() + max(120.0, options.patience.poll)
    job = _got(api, plan.id, options)
    while not job.job_detail.pipeline_run_context.name and _state(job) not in ENDED and time.monotonic() < until:
        time.sleep(min(options.patience.poll, 2.0))
        job = _got(api, plan.id, options)
    child, whole = job.job_detail.pipeline_run_context.name, f"{store}/contexts/{plan.experiment}"
    if not child:
        message = f"The run {plan.id} was started, but could not be put into the experiment {plan.experiment}."
        raise SubmitError([finding("request-refused", message)])
    api.ask(
        lambda settings: api.metadata.add_context_children(context=whole, child_contexts=[child], **settings),
        f"put the run into the experiment {plan.experiment}",
    )


# --- waiting ----------------------------------------------------------------------------------------------------------
def _awaited(api: Api, found: Submission, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """The run at its end; steps are told as they go on. Raises SubmitError when it takes too long."""
    until = time.monotonic() + options.patience.wait if options.patience.wait is not None else None
    told: dict[str, str] = {}
    try:
        while True:
            job = _got(api, found.id or "", options)
            now = submission(job, options)
            _tell(now.steps, told, on_event)
            if now.state in ENDED:
                return replace(now, request=found.request, steps=tuple(_placed(api, job, now.steps, on_event)))
            if until is not None and time.monotonic() >= until:
                raise SubmitError([_not_ended(found, options)])
            time.sleep(options.patience.poll)
    except KeyboardInterrupt:
        on_event(Event("note", None, f"the run goes on; to end it: {_command('cancel', found, options)}"))
        raise


def _not_ended(found: Submission, options: SubmitOptions) -> Any:
    message = f"The run had not ended after {options.patience.wait:.0f} s; it goes on: {found.url}"
    return finding("not-ended", message, name=found.id, hint=f"Look again: `{_command('show', found, options)}`.")


def _command(verb: str, found: Submission, options: SubmitOptions) -> str:
    place = f"--project {options.vertex.project} --region {options.vertex.region}"
    return f"nb2pipe runs {verb} {found.id} --target vertex {place}"


def _tell(steps: tuple[StepState, ...], told: dict[str, str], on_event: OnEvent) -> None:
    ends: Mapping[str, Status] = {"succeeded": "succeeded", "cached": "cached", "failed": "failed"}
    for step in steps:
        if told.get(step.name) == step.state:
            continue
        if step.state in ends and told.get(step.name) != "running" and step.state != "cached":
            on_event(Event("started", step.name))
        if step.state == "running":
            on_event(Event("started", step.name))
        elif step.state in ends:
            on_event(Event("finished", step.name, status=ends[step.state], seconds=step.seconds or 0.0))
        elif step.state == "cancelled":
            on_event(Event("note", step.name, "cancelled"))
        told[step.name] = step.state


def _placed(api: Api, job: Any, steps: tuple[StepState, ...], on_event: OnEvent) -> Iterator[StepState]:
    """The steps; those that failed with the place in the notebook that their log names, if it can be read."""
    names = _task_names(job)
    tasks = {names.get(task.task_name, task.task_name): task for task in job.job_detail.task_details}
    for step in steps:
        number = (
            tasks[step.name].executor_detail.container_detail.main_job.rpartition("/")[2] if step.name in tasks else ""
        )
        yield _explained(api, step, number, on_event) if step.state == "failed" and number else step


def _explained(api: Api, step: StepState, number: str, on_event: OnEvent) -> StepState:
    try:
        lines = api.log_lines(number, LOG_LINES)
    except SubmitError as error:
        on_event(Event("note", step.name, "; ".join(f"{one.message} {one.hint}" for one in error.findings)))
        return step
    step = replace(step, log="\n".join(lines))
    return replace(step, **(failure_in(step.log) or {}))


# --- what there is ----------------------------------------------------------------------------------------------------
def latest(options: SubmitOptions, limit: int, on_event: OnEvent) -> tuple[Submission, ...]:
    """The latest runs, the newest first, without their steps."""
    located(options)
    api = Api(options, on_event)
    fields = ("name", "state", "display_name", "create_time", "end_time", "labels")
    asked: dict[str, Any] = {
        "parent": parent(options),
        "order_by": "create_time desc",
        "page_size": min(limit, 100),
        "read_mask": {"paths": list(fields)},
    }
    if options.experiment:
        asked["filter"] = f'labels.{EXPERIMENT}="{options.experiment}"'
    rows = api.ask(
        lambda settings: list(islice(api.pipelines.list_pipeline_jobs(request=asked, **settings), limit)), "list runs"
    )
    return tuple(submission(job, options) for job in rows)


def shown(run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """A run as it stands, by its id or its whole name."""
    located(options)
    api = Api(options, on_event)
    job = _got(api, run.rpartition("/")[2], options)
    found = submission(job, options)
    return replace(found, steps=tuple(_placed(api, job, found.steps, on_event)))


def cancelled(run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """Asks for the end of a run; gives it as it then stands."""
    located(options)
    api, number = Api(options, on_event), run.rpartition("/")[2]
    job = _got(api, number, options)
    if _state(job) in ENDED:
        return submission(job, options)
    api.ask(lambda settings: api.pipelines.cancel_pipeline_job(name=job.name, **settings), "cancel the run")
    return submission(_got(api, number, options), options)


def _got(api: Api, number: str, options: SubmitOptions) -> Any:
    name = f"{parent(options)}/pipelineJobs/{number}"
    return api.ask(lambda settings: api.pipelines.get_pipeline_job(name=name, **settings), f"find the run {number}")


def submission(job: Any, options: SubmitOptions) -> Submission:
    """A pipeline job in our words."""
    number = job.name.rpartition("/")[2]
    place = {"region": options.vertex.region, "project": options.vertex.project}
    return Submission(
        "vertex",
        _state(job),
        job.display_name or number,
        CONSOLE.format(kind="runs", id=number, **place),
        number,
        created=_iso(job.create_time),
        steps=tuple(_steps(job)),
        message=job.error.message if job.error else "",
    )


def _state(job: Any) -> State:
    return STATES.get(job.state.name.removeprefix("PIPELINE_STATE_"), "pending")


def _steps(job: Any) -> Iterator[StepState]:
    """The steps in the pipeline's order; those of which Vertex AI says nothing have not begun, or never will."""
    known = {task.task_name: task for task in job.job_detail.task_details}
    before = "skipped" if _state(job) in ENDED else "pending"
    for key, name in _task_names(job).items():
        task = known.get(key) or known.get(name)
        if task is None:
            yield StepState(name, before)
            continue
        times = task.start_time, task.end_time
        seconds = (times[1] - times[0]).total_seconds() if all(times) else None
        message = task.error.message if task.error else ""
        yield StepState(name, STEP_STATES.get(task.state.name, "pending"), seconds, message=message)


def _task_names(job: Any) -> dict[str, str]:
    """The name of each step by its task's, in the order in which they can run; what only imports a file is no step."""
    from google.protobuf import json_format

    spec = json_format.MessageToDict(type(job).pb(job).pipeline_spec)
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    components, tasks = spec.get("components", {}), spec.get("root", {}).get("dag", {}).get("tasks", {})
    names = {}
    for key in _in_order(tasks):
        component = components.get(tasks[key].get("componentRef", {}).get("name"), {})
        if "importer" not in executors.get(component.get("executorLabel"), {}):
            names[key] = str(tasks[key].get("taskInfo", {}).get("name", key))
    return names


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    done: dict[str, None] = {}
    while len(done) < len(tasks):
        ready = [key for key, task in tasks.items() if key not in done and {*task.get("dependentTasks", ())} <= {*done}]
        if not ready:
            return [*done, *(key for key in tasks if key not in done)]
        done |= dict.fromkeys(ready)
    return list(done)


def _iso(moment: Any) -> str | None:
    return str(moment.isoformat(timespec="seconds")) if moment else None
