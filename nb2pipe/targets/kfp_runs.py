"""Runs on Kubeflow Pipelines: how they stand, step by step, and why one failed, from its log."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nb2pipe.findings import finding
from nb2pipe.targets.base import Event, OnEvent, Status
from nb2pipe.targets.kfp_api import Api, named
from nb2pipe.targets.logs import failure_in
from nb2pipe.targets.sending import SubmitError
from nb2pipe.targets.submission import ENDED, State, StepState, Submission, SubmitOptions

Json = Mapping[str, Any]
STATES: Mapping[str, State] = {
    "RUNTIME_STATE_UNSPECIFIED": "pending",
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "running",
    "CANCELING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "cancelled",
}
"""The states of runs in our words."""
STEP_STATES: Mapping[str, str] = {**STATES, "SKIPPED": "skipped"}
LONGEST_LOG = 2_000_000


# --- one run ----------------------------------------------------------------------------------------------------------
def ui_of(options: SubmitOptions) -> str:
    """The console's address."""
    place = (options.kfp.ui or options.kfp.host or "").rstrip("/")
    return place if not place or "://" in place else f"https://{place}"


def run_url(options: SubmitOptions, run: str) -> str:
    """A run's page in the console."""
    return f"{ui_of(options)}/#/runs/details/{run}"


def run_of(run: Any, options: SubmitOptions, request: Any = None, spec: Json | None = None) -> Submission:
    """A run of the API as it stands. `spec` is its pipeline where the run itself only refers to it."""
    state = STATES.get(run.state or "", "pending")
    error = getattr(run.error, "message", None) or ""
    created = run.created_at.isoformat() if run.created_at else None
    steps = tuple(_steps(run, spec or _spec_of(run)))
    return Submission(
        "kfp", state, run.display_name, run_url(options, run.run_id), run.run_id, request, created, steps, error
    )


def _spec_of(run: Any) -> Json:
    spec = run.pipeline_spec or {}
    return spec.get("pipeline_spec", spec) if isinstance(spec, dict) else {}


def _steps(run: Any, spec: Json) -> Iterator[StepState]:
    """The steps of a run, in the order of the pipeline's own table; those that nothing is known of wait."""
    details = _by_name(run)
    for key, name in task_names(spec).items():
        task = next((details[one] for one in (key, name) if one in details), None)
        if task is None:
            ended = STATES.get(run.state or "") in ENDED
            yield StepState(name, "skipped" if ended else "pending")
            continue
        seconds = (task.end_time - task.start_time).total_seconds() if task.end_time and task.start_time else None
        message = getattr(task.error, "message", None) or ""
        yield StepState(name, STEP_STATES.get(task.state or "", "pending"), seconds, message=message)


def _by_name(run: Any) -> dict[str, Any]:
    details = run.run_details.task_details if run.run_details else None
    return {task.display_name: task for task in details or ()}


def task_names(spec: Json) -> dict[str, str]:
    """The name of the step of each task of a pipeline; what fetches input files is no step."""
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    components = spec.get("components", {})
    names = {}
    for key, task in spec.get("root", {}).get("dag", {}).get("tasks", {}).items():
        executor = components.get(task.get("componentRef", {}).get("name"), {}).get("executorLabel")
        if "importer" not in executors.get(executor, {}):
            names[key] = task.get("taskInfo", {}).get("name", key)
    return names


# --- waiting ----------------------------------------------------------------------------------------------------------
def waited(
    api: Api, run: str, options: SubmitOptions, on_event: OnEvent, spec: Json | None = None, request: Any = None
) -> Submission:
    """The run when it has ended; its steps are told as they begin and end. Raises SubmitError.

    An interruption leaves the run as it is.
    """
    told: dict[str, str] = {}
    until = None if options.patience.wait is None else time.monotonic() + options.patience.wait
    try:
        while True:
            found = fetched(api, run)
            stands = run_of(found, options, request, spec)
            _tell(stands.steps, told, on_event)
            if stands.state in ENDED:
                return explained(api, found, stands, spec)
            if until is not None and time.monotonic() >= until:
                message = f"Run {run} was still {stands.state} when waiting stopped, and goes on: {stands.url}"
                hint = f"Look again: `{_command('show', run, options)}`, or end it: `runs cancel`."
                raise SubmitError([finding("not-ended", message, name=run, hint=hint)])
            time.sleep(options.patience.poll)
    except KeyboardInterrupt:
        on_event(Event("note", None, f"the run goes on; to end it: {_command('cancel', run, options)}"))
        raise


def _command(verb: str, run: str, options: SubmitOptions) -> str:
    place = {"--host": options.kfp.host, "--namespace": options.kfp.namespace}
    words = [word for option, value in place.items() if value for word in (option, value)]
    return shlex.join(["nb2pipe", "runs", verb, run, "--target", "kfp", *words])


def fetched(api: Api, run: str) -> Any:
    """The run of this id, as the API has it. Raises SubmitError."""
    return api.ask(
        lambda client, timeout: client.runs.run_service_get_run(run, _request_timeout=timeout), what=f"run {run}"
    )


EVENTS: Mapping[str, Status] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "skipped": "skipped",
    "cancelled": "failed",
}


def _tell(steps: Iterable[StepState], told: dict[str, str], on_event: OnEvent) -> None:
    """Tells what changed since the last look."""
    for step in steps:
        before, told[step.name] = told.get(step.name, "pending"), step.state
        if step.state == before or step.state == "pending":
            continue
        if before == "pending" and step.state != "skipped":
            on_event(Event("started", step.name))
        if step.state in EVENTS:
            on_event(Event("finished", step.name, status=EVENTS[step.state], seconds=step.seconds))


# --- why it failed ----------------------------------------------------------------------------------------------------
def explained(api: Api, run: Any, stands: Submission, spec: Json | None) -> Submission:
    """The run with what the logs of its failed steps say: the notebook's cell and line, and the error."""
    names = task_names(spec or _spec_of(run))
    keys = {name: key for key, name in names.items()}
    details = _by_name(run)
    steps = []
    for step in stands.steps:
        task = details.get(keys[step.name]) or details.get(step.name)
        found = _failure(api, run, task) if step.state == "failed" and task else None
        steps.append(replace(step, **found) if found else step)
    return replace(stands, steps=tuple(steps))


def _failure(api: Api, run: Any, task: Any) -> dict[str, Any] | None:
    """What the log of a failed task says; None where no log can be read."""
    for pod in _pods(run, task):
        try:
            found = failure_in(_log(api, run.run_id, pod))
        except SubmitError:
            continue  # pods are deleted in time, and not every server keeps logs
        if found:
            return found
    return None


def _pods(run: Any, task: Any) -> list[str]:
    """The pods of a task and of the tasks that it is made of, without those that only prepare it."""
    details = {one.task_id: one for one in run.run_details.task_details}
    queue, pods = [task], []
    while queue:
        one = queue.pop(0)
        pods += [one.pod_name] if one.pod_name and not one.display_name.endswith("-driver") else []
        for child in one.child_tasks or ():
            if child.task_id in details:
                queue.append(details[child.task_id])
            elif child.pod_name:
                pods.append(child.pod_name)
    return list(dict.fromkeys(pods))


def _log(api: Api, run: str, pod: str) -> str:
    """The log of a pod, by the address that the console has it from; the generated API does not know it."""

    def read(client: Any, timeout: Any) -> Any:
        inner = client.runs.run_service_get_run.__self__.api_client
        return inner.call_api(
            "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
            "GET",
            {"run": run, "node": pod},
            response_type="bytes",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=timeout,
        ).read(LONGEST_LOG)

    return bytes(api.ask(read, what=f"the log of {pod}", is_json=False)).decode("utf-8", "replace")


# --- the commands -----------------------------------------------------------------------------------------------------
def listed(options: SubmitOptions, limit: int, on_event: OnEvent) -> tuple[Submission, ...]:
    """The latest runs, the newest first."""
    api = Api(options, on_event)
    scope = _scope(api, options)
    runs: list[Any] = []
    page = _page(api, scope, limit, "")
    while page.next_page_token and len(runs) + len(page.runs or ()) < limit:
        runs += page.runs or ()
        page = _page(api, scope, limit - len(runs), page.next_page_token)
    found = [*runs, *(page.runs or ())][:limit]
    return tuple(replace(run_of(run, options), steps=()) for run in found)


def _page(api: Api, scope: dict[str, str], size: int, token: str) -> Any:
    words = {**scope, "page_size": min(size, 100), "page_token": token, "sort_by": "created_at desc"}
    return api.ask(
        lambda client, timeout: client.runs.run_service_list_runs(**words, _request_timeout=timeout),
        what="the list of runs",
    )


def _scope(api: Api, options: SubmitOptions) -> dict[str, str]:
    """Of which runs a list is: those of an experiment, or of a namespace."""
    namespace = api.namespace() or ""
    if options.experiment is None:
        return {"namespace": namespace} if namespace else {}
    name = options.experiment
    found = api.ask(
        lambda client, timeout: client.experiments.experiment_service_list_experiments(
            filter=named(name), namespace=namespace, _request_timeout=timeout
        ),
        what=f"experiment {name}",
    )
    if not found.experiments:
        raise SubmitError([finding("not-there", f"There is no experiment {name!r}.", name=name)])
    return {"experiment_id": str(found.experiments[0].experiment_id)}


def shown(run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """The run of this id."""
    api = Api(options, on_event)
    found = fetched(api, run)
    spec = _spec_of(found) or _referred(api, found)
    return explained(api, found, run_of(found, options, spec=spec), spec)


def _referred(api: Api, run: Any) -> Json:
    """The pipeline that a run only refers to."""
    version = run.pipeline_version_reference
    if version is None:
        return {}
    found = api.ask(
        lambda client, timeout: client.pipelines.pipeline_service_get_pipeline_version(
            version.pipeline_id, version.pipeline_version_id, _request_timeout=timeout
        ),
        what="the pipeline's version",
    )
    return _spec_of(found)


def cancelled(run: str, options: SubmitOptions, on_event: OnEvent) -> Submission:
    """Asks for the end of the run, unless it has ended; gives it as it then stands."""
    api = Api(options, on_event)
    stands = run_of(fetched(api, run), options)
    if stands.state in ENDED:
        return stands
    api.ask(
        lambda client, timeout: client.runs.run_service_terminate_run(run, _request_timeout=timeout), what=f"run {run}"
    )
    return run_of(fetched(api, run), options)
