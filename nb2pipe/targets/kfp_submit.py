"""Submitting to Kubeflow Pipelines: experiment, run or recurring run, and the pipeline that others can start."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nb2pipe.findings import Finding, finding
from nb2pipe.targets.base import Event, OnEvent, read_map
from nb2pipe.targets.kfp_api import Api, named
from nb2pipe.targets.kfp_runs import cancelled, run_of, run_url, ui_of, waited
from nb2pipe.targets.sending import (
    SubmitError,
    cron_fields,
    fresh_pipeline,
    http_status,
    late,
    new_id,
    no_secrets,
    pipeline_arguments,
    run_name,
    unused_options,
)
from nb2pipe.targets.storage import check_bucket, staged, uncached, upload
from nb2pipe.targets.submission import Submission, SubmitOptions

Json = dict[str, Any]
MARK = "submitted by nb2pipe, "
"""What the description of all that we make begins with; the command's mark follows."""
UNLESS = ", unless there is one of this name"
"""When a request that makes what may be there already is sent, in the words of a dry run."""
OTHERS = {
    "labels": "--label",
    "vertex.network": "--network",
    "vertex.cmek": "--cmek",
    "vertex.failure_policy": "--failure-policy",
}
"""Options that only other platforms know."""

LARGEST_PIPELINE = 1024 * 1024
"""Bytes of a pipeline with its arguments. All of it is in its Argo workflow, which Argo ends when it is larger than
MAX_WORKFLOW_SIZE, 1 MiB ("workflow is longer than maximum allowed size": awslabs/kubeflow-manifests#767); what etcd
takes in one request, 1.5 MiB, is more (kubeflow/pipelines#4170)."""
LONGEST: Mapping[str, int] = {"run": 255, "schedule": 255, "experiment": 128, "pipeline": 128, "namespace": 63}
"""Bytes of names in UTF-8, as the API server counts: LengthSpecs in backend/src/apiserver/validation/length.go of
kubeflow/pipelines; those of runs and schedules are columns of 255."""


Call = Callable[[Any, Any], Any]
"""A call of the API: of the SDK's client, with the seconds that its answer may take."""


def submit(project: Path, options: SubmitOptions, on_event: OnEvent, compile: Callable[[Path], Path]) -> Submission:
    """Submits the compiled project; `compile` makes its pipeline.yaml anew in the file that it is given.

    Raises SubmitError, ParameterError, CompileError, ProjectError; then nothing was started.
    """
    unused_options(options, OTHERS, "kfp")
    no_secrets(options)
    graph, mark = read_map(project)["pipeline"], new_id()
    pipeline = fresh_pipeline(project, compile, "kfp")
    files = staged(graph, options)
    options = uncached(options, files)
    if options.bucket:
        check_bucket(options.bucket)
    arguments = pipeline_arguments(graph, pipeline["spec"], options, files.uris)
    spec = _spec(pipeline, options.caching)
    name = options.name or spec["pipelineInfo"]["name"] if options.schedule else run_name(graph, options, mark)
    body = _body(name, mark, spec, pipeline["platform"], arguments, options)
    _check(spec, body, options)
    if options.dry_run:
        uploads = [{"file": one.path.name, "to": one.name, "bytes": one.size} for one in files.uploads]
        requests = [*({"what": "upload", "body": row} for row in uploads), *_requests(body, spec, options)]
        return Submission("kfp", "dry-run", name, request=requests)
    api = Api(options, on_event)
    sender = _Sender(api, options, mark)
    experiment = sender.experiment()
    count = upload(files, options.patience, on_event)
    if count:
        on_event(Event("note", None, f"uploaded {count} input files to {options.bucket}"))
    body["experiment_id"] = experiment
    if options.upload:
        body["pipeline_version_reference"] = sender.version(spec["pipelineInfo"]["name"], body.pop("pipeline_spec"))
    if options.schedule:
        return sender.schedule(body)
    return sender.run(body, spec, on_event)


# --- the requests -----------------------------------------------------------------------------------------------------
def _spec(pipeline: Json, caching: bool | None) -> Json:
    """The pipeline's spec, with caching of all steps turned on or off."""
    spec: Json = json.loads(json.dumps(pipeline["spec"]))
    if caching is not None:
        components = [spec["root"], *spec["components"].values()]
        for task in (task for one in components for task in one.get("dag", {}).get("tasks", {}).values()):
            task["cachingOptions"] = {"enableCache": True} if caching else {}
    return spec


def _body(
    name: str, mark: str, spec: Json, platform: Json | None, arguments: Json, options: SubmitOptions
) -> dict[str, Any]:
    """The run, or the recurring run, as it is sent but for the experiment's id, which the server gives."""
    config = {"parameters": arguments, **({"pipeline_root": options.bucket} if options.bucket else {})}
    body: Json = {
        "experiment_id": "EXPERIMENT_ID",
        "display_name": name,
        "description": MARK + mark,
        "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform} if platform else spec,
        "runtime_config": config,
    }
    if options.service_account:
        body["service_account"] = options.service_account
    if options.schedule:
        cron = " ".join(["0", *cron_fields(options.schedule)])  # Kubeflow's begins with the second
        body |= {"mode": "ENABLE", "trigger": {"cron_schedule": {"cron": cron}}, "max_concurrency": "1"}
        body["no_catchup"] = True
    return body


def _requests(body: Json, spec: Json, options: SubmitOptions) -> list[Json]:
    """What is sent one after another, as a dry run shows it; capital letters stand for ids that the server gives."""
    requests = [_request("experiments", _experiment(options, options.kfp.namespace), UNLESS)]
    if options.upload:
        pipeline = _pipeline(spec["pipelineInfo"]["name"], options.kfp.namespace)
        requests.append(_request("pipelines", pipeline, UNLESS))
        version = {"pipeline_id": "PIPELINE_ID", "display_name": _version(body["pipeline_spec"])}
        file = {"uploadfile": body["pipeline_spec"]}
        requests.append(_request("pipelines/upload_version", {**version, **file}, UNLESS))
        reference = {"pipeline_id": "PIPELINE_ID", "pipeline_version_id": "PIPELINE_VERSION_ID"}
        body = {**body, "pipeline_version_reference": reference}
        del body["pipeline_spec"]
    return [*requests, _started(body)]


def _started(body: Json) -> Json:
    """The request that starts the run, or sets the schedule."""
    if "trigger" in body:
        return _request("recurringruns", body, ", then DELETE earlier ones of this name")
    return _request("runs", body)


def _request(path: str, body: Json, when: str = "") -> Json:
    return {"what": f"POST /apis/v2beta1/{path}{when}", "body": body}


def _experiment(options: SubmitOptions, namespace: str | None) -> Json:
    name = {"display_name": options.experiment or "Default"}
    return {**name, "namespace": namespace} if namespace else name


def _pipeline(name: str, namespace: str | None) -> Json:
    named = {"name": name, "display_name": name}
    return {**named, "namespace": namespace} if namespace else named


def _version(document: Json) -> str:
    """The name of a version: what is in it, so that the same pipeline is kept once."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _check(spec: Json, body: Json, options: SubmitOptions) -> None:
    """Raises SubmitError for what the server would not take."""
    wrong = list(_beyond(spec, body, options))
    if wrong:
        raise SubmitError(wrong)


def _beyond(spec: Json, body: Json, options: SubmitOptions) -> Iterator[Finding]:
    size = len(json.dumps(body).encode())
    if size > LARGEST_PIPELINE:
        message = f"The pipeline and its arguments are {size:,} bytes; a cluster takes {LARGEST_PIPELINE:,}."
        yield finding("beyond-limit", message)
    names = {
        "schedule" if options.schedule else "run": body["display_name"],
        "experiment": options.experiment or "",
        "namespace": options.kfp.namespace or "",
        "pipeline": spec["pipelineInfo"]["name"] if options.upload else "",
    }
    for what, name in names.items():
        length = len(name.encode())
        if length > LONGEST[what]:
            message = f"The name of the {what} has {length} bytes; Kubeflow takes {LONGEST[what]}."
            yield finding("bad-run-option", message, name=name[:40])


# --- sending ----------------------------------------------------------------------------------------------------------
class _Sender:
    """Sends what one command sends. Each thing is looked for before it is made, or made again."""

    def __init__(self, api: Api, options: SubmitOptions, mark: str) -> None:
        self._api, self._options, self._mark = api, options, mark
        self._namespace = api.namespace() or ""

    def experiment(self) -> str:
        """The id of the experiment, which is made if there is none of this name."""
        body = _experiment(self._options, self._namespace or None)
        name = body["display_name"]

        def found(client: Any, timeout: Any) -> Any:
            listed = client.experiments.experiment_service_list_experiments(
                filter=named(name), namespace=self._namespace, _request_timeout=timeout
            )
            return next(iter(listed.experiments or ()), None)

        def made(client: Any, timeout: Any) -> Any:
            return client.experiments.experiment_service_create_experiment(experiment=body, _request_timeout=timeout)

        return str(self._found_or_made(f"experiment {name}", found, made).experiment_id)

    def _found_or_made(self, what: str, found: Call, made: Call) -> Any:
        """What is there already, else what is made; after a lost answer it is looked for before it is made again."""

        def made_once(client: Any, timeout: Any) -> Any:
            try:
                return made(client, timeout)
            except Exception as error:
                there = found(client, timeout) if http_status(error) == 409 else None
                if there is None:
                    raise
                return there  # another command was faster

        existing = self._api.ask(found, what=what)
        if existing is None:
            answer = self._options.patience.answer
            existing = self._api.ask(made_once, already=lambda client, error: found(client, answer), what=what)
        return existing

    def _made_once(self, what: str, ours: Call, made: Call, end: Callable[[Any], None]) -> Any:
        """What `made` makes, once: the API has no ids of requests, so that what bears the command's mark (`ours`, the
        oldest first) is looked for, and waited for, after a request without an answer and before it is sent again.

        Should the server have made the first one later than that, the second is ended by `end`.
        """
        answer, unsure = self._options.patience.answer, []

        def already(client: Any, error: Exception) -> Any:
            unsure.append(error)
            return late(lambda: next(iter(ours(client, answer)), None), error, self._options.patience)

        created = self._api.ask(made, already=already, what=what)
        both = self._api.ask(ours, what=what) if unsure else []
        for second in both[1:]:
            end(second)
        return both[0] if both else created

    def version(self, name: str, document: Json) -> Json:
        """A reference to the pipeline's version of this content, which is uploaded if it is not there."""
        pipeline = self._pipeline(name)
        version = _version(document)

        def found(client: Any, timeout: Any) -> Any:
            listed = client.pipelines.pipeline_service_list_pipeline_versions(
                pipeline, filter=named(version), _request_timeout=timeout
            )
            return next(iter(listed.pipeline_versions or ()), None)

        def made(client: Any, timeout: Any) -> Any:
            with tempfile.TemporaryDirectory() as scratch:
                return client.pipeline_uploads.upload_pipeline_version(
                    str(_file(document, Path(scratch))),
                    name=version,
                    display_name=version,
                    pipelineid=pipeline,
                    description=MARK + self._mark,
                    _request_timeout=timeout,
                )

        existing = self._found_or_made(f"pipeline {name}", found, made)
        return {"pipeline_id": pipeline, "pipeline_version_id": str(existing.pipeline_version_id)}

    def _pipeline(self, name: str) -> str:
        body = _pipeline(name, self._namespace or None)

        def found(client: Any, timeout: Any) -> Any:
            place = {"namespace": self._namespace} if self._namespace else {}
            listed = client.pipelines.pipeline_service_list_pipelines(
                filter=named(name), **place, _request_timeout=timeout
            )
            return next(iter(listed.pipelines or ()), None)

        def made(client: Any, timeout: Any) -> Any:
            return client.pipelines.pipeline_service_create_pipeline(pipeline=body, _request_timeout=timeout)

        return str(self._found_or_made(f"pipeline {name}", found, made).pipeline_id)

    def run(self, body: Json, spec: Json, on_event: OnEvent) -> Submission:
        """Starts the run, and waits for its end if that is wanted."""
        name, experiment = body["display_name"], body["experiment_id"]

        def ours(client: Any, timeout: Any) -> list[Any]:
            listed = client.runs.run_service_list_runs(
                experiment_id=experiment,
                filter=named(name),
                page_size=100,
                sort_by="created_at asc",
                _request_timeout=timeout,
            )
            return [run for run in listed.runs or () if run.description == body["description"]]

        def made(client: Any, timeout: Any) -> Any:
            return client.runs.run_service_create_run(run=body, _request_timeout=timeout)

        def end(second: Any) -> None:
            on_event(Event("note", None, f"the server started run {second.run_id} too, late; it is cancelled"))
            cancelled(second.run_id, self._options, on_event)

        created = self._made_once(f"run {name}", ours, made, end)
        requests = [_started(body)]
        url = run_url(self._options, created.run_id)
        on_event(Event("note", None, f"run {created.run_id}: {url}"))
        if self._options.wait:
            return waited(self._api, created.run_id, self._options, on_event, spec, requests)
        return run_of(created, self._options, requests, spec)

    def schedule(self, body: Json) -> Submission:
        """Sets the schedule: the new one is there before the old ones of its name go, so that none is ever lost."""
        name = body["display_name"]

        def listed(client: Any, timeout: Any) -> list[Any]:
            found = client.recurring_runs.recurring_run_service_list_recurring_runs(
                experiment_id=body["experiment_id"], filter=named(name), page_size=100, _request_timeout=timeout
            )
            return list(found.recurring_runs or ())

        def ours(client: Any, timeout: Any) -> list[Any]:
            return [run for run in listed(client, timeout) if run.description == body["description"]]

        def made(client: Any, timeout: Any) -> Any:
            runs = client.recurring_runs
            return runs.recurring_run_service_create_recurring_run(recurring_run=body, _request_timeout=timeout)

        before = self._api.ask(listed, what=f"schedule {name}")
        _only_ours(before, name)
        created = self._made_once(
            f"schedule {name}", ours, made, lambda second: self._delete(second.recurring_run_id, name)
        )
        for old in before:
            self._delete(old.recurring_run_id, name)
        url = f"{ui_of(self._options)}/#/recurringrun/details/{created.recurring_run_id}"
        return Submission("kfp", "scheduled", name, url, created.recurring_run_id, [_started(body)])

    def _delete(self, run: str, name: str) -> None:
        try:
            self._api.ask(
                lambda client, timeout: client.recurring_runs.recurring_run_service_delete_recurring_run(
                    run, _request_timeout=timeout
                ),
                what=f"the earlier schedule {name}",
            )
        except SubmitError as error:
            if error.findings[0].code != "not-there":  # an attempt whose answer was lost has deleted it
                raise


def _only_ours(existing: list[Any], name: str) -> None:
    """Raises SubmitError for a schedule of that name that somebody else made: it is not replaced."""
    if any(not (one.description or "").startswith(MARK) for one in existing):
        message = f"There is a recurring run {name!r} that nb2pipe did not make."
        raise SubmitError([finding("bad-run-option", message, name=name, hint="Give another name: --run-name.")])


def _file(document: Json, folder: Path) -> Path:
    """The pipeline as the file that is uploaded."""
    import yaml

    parts = [document["pipeline_spec"], document["platform_spec"]] if "pipeline_spec" in document else [document]
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump_all(parts, sort_keys=True), encoding="utf-8")
    return file
