"""Pipelines on Vertex AI, by Google's own clients, against strict servers that really run what is submitted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from doors import nb2pipe
from vertex_place import PATIENCE, TOKEN, Submit, asked

from nb2pipe.convert import Conversion
from nb2pipe.findings import Nb2pipeError
from nb2pipe.targets.base import load_platform
from nb2pipe.targets.vertex_api import explained

pytest.importorskip("google.cloud.aiplatform_v1")
fake_vertex = pytest.importorskip("fake_vertex")
EXECUTES = pytest.mark.parametrize("vertex", ["executes"], indirect=True)
JOBS = "/v1/projects/test-project/locations/us-central1/pipelineJobs"


def sent(vertex: Any) -> Any:
    """The one pipeline job that was made."""
    [job] = [job for name, job in vertex.jobs.items() if "/pipelineJobs/" in name]
    return job.message


# --- a run ------------------------------------------------------------------------------------------------------------
@EXECUTES
def test_a_submitted_pipeline_computes_what_a_local_run_computes(
    vertex: Any, submit: Submit, events: list[Any], vertex_home: Path, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = submit(parameters={"rows": "2", "scale": 2.5}, wait=True, experiment="sums", labels={"team": "a"})
    assert (found.state, [(step.name, step.state) for step in found.steps]) == (
        "succeeded",
        [("load", "succeeded"), ("total", "succeeded")],
    )
    message, bucket = sent(vertex), storage[1] / "bucket-1"
    assert found.url == (
        f"https://console.cloud.google.com/vertex-ai/locations/us-central1/pipelines/runs/{found.id}?project=test-project"
    )
    ours = "nb2pipe", "nb2pipe-pipeline", "nb2pipe-experiment"
    assert {key: value for key, value in message.labels.items() if key != ours[0]} == {
        "team": "a", "nb2pipe-pipeline": "sums", "nb2pipe-experiment": "sums",
    }  # fmt: skip
    assert [(e.step, e.kind) for e in events if e.step] == [
        (step, kind) for step in ("load", "total") for kind in ("started", "finished")
    ]
    # The run is in its experiment.
    run = message.job_detail.pipeline_run_context.name
    assert list(vertex.contexts[run].parent_contexts) == [f"{run.rpartition('/')[0]}/sums"]
    # The input file lies where its content says.
    digest = hashlib.sha256((vertex_home / "data.csv").read_bytes()).hexdigest()
    assert (bucket / "team" / "nb2pipe" / "inputs" / digest / "data.csv").read_bytes() == b"1\n2\n3\n4\n"
    # What it computed is what is computed here.
    monkeypatch.setenv("TOKEN", TOKEN)
    local = Conversion(vertex_home / "sums.ipynb", {"target": "vertex"}).run({"rows": 2, "scale": 2.5})
    [stored] = bucket.glob("team/nb2pipe/runs/*/total/metrics/value.json")
    assert json.loads(stored.read_text()) == dict(local.metrics) == {"total": 7.5, "count": 2}
    # The secret was there, and is nowhere else.
    [log] = vertex.folder.glob("*/log")
    assert f"token of {len(TOKEN)} letters" in log.read_text()
    kept = [
        path for folder in (bucket, vertex.folder, vertex_home / "sums") for path in folder.rglob("*") if path.is_file()
    ]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in json.dumps(found.to_json())


@EXECUTES
def test_a_failed_run_says_the_cell_and_the_line(vertex: Any, submit: Submit) -> None:
    found = submit(parameters={"name": "bad"}, wait=True)
    document = found.to_json()
    assert document["state"] == "failed"
    assert document["error"] == {
        "step": "total", "cell": 2, "line": 4, "message": "ValueError: on purpose",
    }  # fmt: skip
    [load, total] = found.steps
    assert load.log == ""
    assert "ValueError: on purpose" in total.log
    assert "token of" not in total.log  # another step's
    again = load_platform("vertex").show_run(str(found.id), asked(), print)
    assert (again.steps[1].cell, again.steps[1].line, again.steps[1].log) == (2, 4, total.log)


@EXECUTES
def test_the_commands_submit_wait_show_and_exit_by_the_result(vertex: Any, vertex_home: Path, tmp_path: Path) -> None:
    place = ("--target", "vertex", "--project", "test-project", "--region", "us-central1")
    words = ("-p", "name=bad", "--bucket", "gs://bucket-1", "--wait", *place)
    done = nb2pipe("submit", "sums", *words, "--json", cwd=vertex_home)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["error"]["cell"]) == ("failed", 2)
    assert document["url"] in done.stderr
    assert re.search(r"\[total\] +sums\.ipynb, cell 2, line 4, in total", done.stderr)
    shown = nb2pipe("runs", "show", document["id"], *place, cwd=vertex_home)
    assert "step total failed at cell 2 line 4: ValueError: on purpose" in shown.stdout
    listed = nb2pipe("runs", "list", *place, "--json", cwd=vertex_home)
    assert [run["id"] for run in json.loads(listed.stdout)["runs"]] == [document["id"]]


def test_the_command_converts_a_notebook_for_vertex_and_shows_the_request(vertex_home: Path, tmp_path: Path) -> None:
    words = ("--target", "vertex", "--project", "test-project", "--region", "us-central1", "--bucket", "gs://bucket-1")
    done = nb2pipe("submit", "sums.ipynb", "-o", tmp_path / "made", *words, "--dry-run", "--json", cwd=vertex_home)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["state"] == "dry-run"
    assert document["request"][-1]["body"]["pipelineSpec"]["pipelineInfo"]["name"] == "sums"
    assert (tmp_path / "made" / "pipeline.yaml").is_file()


@EXECUTES
def test_without_its_log_a_failed_run_says_what_vertex_said(vertex: Any, submit: Submit, events: list[Any]) -> None:
    vertex.faults.append(
        fake_vertex.Fault("/v2/entries", 403, message="Permission 'logging.logEntries.list' denied on resource")
    )
    vertex.google.secrets = {}
    document = submit(wait=True).to_json()
    assert (document["error"]["step"], document["error"]["cell"]) == ("load", None)
    assert "non-zero status of 1" in document["error"]["message"]
    assert [step["state"] for step in document["steps"]] == ["failed", "skipped"]
    assert "roles/logging.viewer" in events[-1].text


# --- what is sent -----------------------------------------------------------------------------------------------------
def test_every_option_arrives(vertex: Any, submit: Submit) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    network, account = "projects/12345/global/networks/own", "runner@test-project.iam.gserviceaccount.com"
    found = submit(
        name="Tuesday's run",
        labels={"größe": "groß_2", **{f"l{n}": "" for n in range(60)}},
        service_account=account,
        caching=False,
        parameters={"words": "['x']", "name": "n"},
        inputs={"data.csv": "gs://elsewhere/data.csv"},
        place={"network": network, "cmek": key, "failure_policy": "fast"},
    )
    message = sent(vertex)
    assert (found.name, message.display_name, found.state) == ("Tuesday's run", "Tuesday's run", "pending")
    assert (message.service_account, message.network) == (account, network)
    assert message.encryption_spec.kms_key_name == key
    config = message.runtime_config
    assert config.gcs_output_directory == "gs://bucket-1/team/nb2pipe/runs"
    assert config.failure_policy.name == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    assert dict(config.parameter_values) == {"words": '["x"]', "name": "n", "data_csv": "gs://elsewhere/data.csv"}
    tasks = message.pipeline_spec["root"]["dag"]["tasks"]
    assert [dict(tasks[name]["cachingOptions"]) for name in ("load", "total")] == [{}, {}]


def test_by_default_the_steps_decide_what_is_cached(vertex: Any, submit: Submit) -> None:
    submit(caching=True)
    tasks = sent(vertex).pipeline_spec["root"]["dag"]["tasks"]
    assert dict(tasks["load"]["cachingOptions"]) == {"enableCache": True}
    assert not dict(tasks["total"]["cachingOptions"])


def test_a_dry_run_is_the_request_and_touches_no_network(
    vertex: Any, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.protobuf import json_format

    monkeypatch.setattr("nb2pipe.targets.vertex_request.new_id", lambda: "0123456789ab")
    monkeypatch.setattr("time.strftime", lambda form, *given: "20260101000000")
    with monkeypatch.context() as alone:
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
            alone.delenv(name)
        dry = submit(dry_run=True, parameters={"rows": 2})
    assert (dry.state, dry.url, vertex.requests) == ("dry-run", None, [])
    upload, create = dry.request
    assert upload["what"].startswith("upload to gs://bucket-1/team/nb2pipe/inputs/")
    assert create["what"] == f"POST {vertex.url}{JOBS}?pipelineJobId=sums-20260101000000-0123456789ab"
    real = submit(parameters={"rows": 2})
    assert real.request == dry.request
    message = sent(vertex)
    got = json_format.MessageToDict(type(message).pb(message))
    for name in ("name", "state", "createTime", "updateTime"):
        got.pop(name)
    assert got == create["body"]


def test_a_file_is_uploaded_once(vertex: Any, submit: Submit, vertex_home: Path, storage: Any) -> None:
    submit()
    [stored] = (storage[1] / "bucket-1/team/nb2pipe/inputs").glob("*/data.csv")
    before = stored.stat().st_mtime_ns
    submit()
    assert stored.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"place": {"project": None}}, "missing-place", "which project"),
        ({"place": {"region": None}}, "missing-place", "which region"),
        ({"bucket": None}, "missing-place", "which bucket"),
        ({"place": {"project": "p/../q"}}, "bad-run-option", "no project's id"),
        ({"place": {"region": "evil.example/"}}, "bad-run-option", "no region"),
        ({"bucket": "s3://bucket"}, "bad-run-option", "gs://BUCKET"),
        ({"service_account": "me"}, "bad-run-option", "no service account"),
        ({"place": {"network": "default"}}, "bad-run-option", "projects/NUMBER"),
        ({"place": {"cmek": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"}}, "bad-run-option", "no key"),
        ({"labels": {"Team": "a"}}, "bad-run-option", "Team=a"),
        ({"labels": {"größe": "Groß"}}, "bad-run-option", "größe=Groß"),
        ({"labels": {"vertex-ai-pipelines-run-billing-id": "1"}}, "bad-run-option", "own"),
        ({"labels": {f"l{n}": "a" for n in range(62)}}, "bad-run-option", "at most 61"),
        ({"name": "x" * 129}, "bad-run-option", "128 characters"),
        ({"name": 'x" OR "'}, "bad-run-option", "no quotes"),
        ({"experiment": "My experiment"}, "bad-run-option", "no experiment's name"),
        ({"schedule": "0 6 * * *", "experiment": "e"}, "bad-run-option", "schedule"),
        ({"schedule": "at six"}, "bad-schedule", "cron"),
        ({"upload": True}, "not-for-target", "--upload"),
        ({"parameters": {"rows": "many"}}, "parameter-type", "rows is a int"),
        ({"parameters": {"row": 1}}, "unknown-parameter", "row"),
        ({"parameters": {"name": "mysql://reader:hunter2@db/shop"}}, "secret-in-code", "name looks like"),
        ({"home": Path("/nowhere")}, "missing-input", "data.csv"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    vertex: Any, submit: Submit, given: dict[str, Any], code: str, says: str
) -> None:
    with pytest.raises(Nb2pipeError) as refused:
        submit(**given)
    [found] = refused.value.findings
    assert found.code == code
    assert says in found.message + found.hint
    assert not vertex.requests


# --- once -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", [429, 500, 503, 401, "lost", "cut", "slow"])
def test_what_passes_is_tried_again_and_makes_one_job(vertex: Any, submit: Submit, what: int | str) -> None:
    vertex.faults.append(fake_vertex.Fault(f"POST {JOBS}", what))
    found = submit()
    assert found.id == sent(vertex).name.rpartition("/")[2]
    creates = vertex.requests.count(f"POST {JOBS}")
    assert creates == (1 if what in ("lost", "cut", "slow") else 2)


def test_a_request_that_arrives_twice_makes_one_job(vertex: Any, submit: Submit) -> None:
    vertex.faults += [fake_vertex.Fault(f"POST {JOBS}", "lost"), fake_vertex.Fault(f"GET {JOBS}", 404)]
    found = submit()
    assert vertex.requests.count(f"POST {JOBS}") == 2  # the second is told that the job is there
    assert found.id == sent(vertex).name.rpartition("/")[2]


def test_a_job_of_that_id_that_is_not_ours_is_not_taken_for_it(vertex: Any, submit: Submit) -> None:
    vertex.faults.append(fake_vertex.Fault(f"POST {JOBS}", 409, message="already exists"))
    with pytest.raises(Nb2pipeError, match="already exists"):
        submit()
    assert not vertex.jobs


def test_a_server_that_does_not_come_back_is_said(vertex: Any, submit: Submit, events: list[Any]) -> None:
    vertex.faults += [fake_vertex.Fault(f"POST {JOBS}", 503) for _ in range(PATIENCE.attempts)]
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    assert [found.code for found in failed.value.findings] == ["no-answer"]
    assert "trying again" in events[-1].text


# --- what mends it ----------------------------------------------------------------------------------------------------
def info(reason: str, **metadata: str) -> list[Any]:
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
             "metadata": metadata}]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "details", "message", "code", "hint"),
    [
        (403, info("SERVICE_DISABLED", service="aiplatform.googleapis.com"), "Vertex AI API has not been used",
         "not-allowed", "gcloud services enable aiplatform.googleapis.com --project test-project"),
        (403, info("IAM_PERMISSION_DENIED", permission="aiplatform.pipelineJobs.create"), "Permission denied",
         "not-allowed", "--role roles/aiplatform.user"),
        (403, [], "Permission 'storage.objects.get' denied on resource", "not-allowed", "roles/storage.objectUser"),
        (403, [], "You do not have permission to act as service_account: x", "not-allowed",
         "gcloud iam service-accounts add-iam-policy-binding"),
        (403, info("BILLING_DISABLED"), "This API method requires billing", "not-allowed", "billing projects link"),
        (403, info("CONSUMER_INVALID"), "Project test-project not found", "not-there", "gcloud projects list"),
        (403, [], "The API requires a quota project, which is not set by default", "not-allowed",
         "gcloud auth application-default set-quota-project test-project"),
        (400, [], "Unknown machine", "request-refused", "Correct what the message names"),
        (400, [], "Quota exceeded for CustomModelTrainingCPUs", "request-refused", "iam-admin/quotas"),
    ],
)  # fmt: skip
def test_an_error_says_which_command_mends_it(
    vertex: Any, submit: Submit, status: int, details: list[Any], message: str, code: str, hint: str
) -> None:
    vertex.faults.append(fake_vertex.Fault(f"POST {JOBS}", status, details, message))
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    [found] = failed.value.findings
    assert found.code == code
    assert found.message == f"Cannot start the pipeline: {message}"
    assert hint in found.hint
    assert not vertex.jobs


def test_without_a_login_the_command_is_named(
    vertex: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    [found] = failed.value.findings
    assert (found.code, "gcloud auth application-default login" in found.hint) == ("not-logged-in", True)
    assert not vertex.requests


def test_a_login_that_is_not_known_is_said(
    vertex: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = fake_vertex.service_account(tmp_path / "other.json", f"{vertex.url}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(other))
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    assert [found.code for found in failed.value.findings] == ["not-logged-in"]


def test_a_page_is_not_taken_for_an_answer(vertex: Any, submit: Submit) -> None:
    vertex.faults.append(fake_vertex.Fault(f"POST {JOBS}", "page"))
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    [found] = failed.value.findings
    assert (found.code, "a page" in found.message) == ("no-answer", True)
    assert not vertex.jobs


def test_a_connection_that_cannot_be_trusted_is_not_tried_again(
    vertex: Any, submit: Submit, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM", vertex.url.replace("http:", "https:"))
    with pytest.raises(Nb2pipeError) as failed:
        submit()
    [found] = failed.value.findings
    assert (found.code, "REQUESTS_CA_BUNDLE" in found.hint, events) == ("no-answer", True, [])


def test_a_clock_that_is_wrong_is_named(vertex: Any, submit: Submit) -> None:
    from google.auth.exceptions import RefreshError

    said = "invalid_grant: Invalid JWT: Token must be a short-lived token and in a reasonable timeframe. Check your "
    wrong = explained(RefreshError(f"{said}iat and exp values in the JWT claim."), "log in", asked())
    other = explained(RefreshError("invalid_grant: Bad Request"), "log in", asked())
    assert (wrong.code, "clock" in wrong.hint) == ("not-logged-in", True)
    assert (other.code, "clock" in other.hint) == ("not-logged-in", False)


def test_a_bucket_that_is_not_there_is_said_before_anything_is_made(vertex: Any, submit: Submit) -> None:
    with pytest.raises(Nb2pipeError) as failed:
        submit(bucket="gs://nowhere-1")
    [found] = failed.value.findings
    assert found.code == "not-there"
    command = "gcloud storage buckets create gs://nowhere-1 --project test-project --location us-central1"
    assert command in found.hint
    assert not vertex.jobs


# --- waiting, and what there is ---------------------------------------------------------------------------------------
@EXECUTES
def test_waiting_goes_on_through_faults_and_a_token_that_ran_out(vertex: Any, submit: Submit) -> None:
    vertex.faults += [fake_vertex.Fault(f"GET {JOBS}", what) for what in (503, 401, "cut", 429, "lost")]
    assert submit(wait=True).state == "succeeded"
    assert not vertex.faults


def test_waiting_ends_when_it_was_said_and_the_run_goes_on(vertex: Any, submit: Submit) -> None:
    with pytest.raises(Nb2pipeError) as late:
        submit(wait=True, patience={"wait": 0.0})
    [found] = late.value.findings
    assert found.code == "not-ended"
    assert f"nb2pipe runs show {found.name} --target vertex --project test-project" in found.hint
    assert sent(vertex).state.name in ("PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING")


def test_an_interrupted_wait_says_how_to_end_the_run(
    vertex: Any, submit: Submit, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nb2pipe.targets.vertex_runs.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        submit(wait=True)
    assert "nb2pipe runs cancel sums-" in events[-1].text


def test_runs_are_listed_shown_and_cancelled(vertex: Any, submit: Submit) -> None:
    platform, made = load_platform("vertex"), [submit() for _ in range(3)]
    assert [run.id for run in platform.list_runs(asked(), 2, print)] == [made[2].id, made[1].id]
    assert platform.show_run(str(made[0].id), asked(), print).state in ("pending", "running")
    ended = platform.cancel_run(f"projects/p/locations/r/pipelineJobs/{made[0].id}", asked(), print)
    assert ended.state in ("running", "cancelled")
    vertex.jobs[f"{JOBS.removeprefix('/v1/')}/{made[0].id}"].thread.join(10)
    again = platform.cancel_run(str(made[0].id), asked(), print)
    assert (again.state, [step.state for step in again.steps]) == ("cancelled", ["skipped", "skipped"])
    assert vertex.requests.count(f"POST {JOBS}/{made[0].id}:cancel") == 1
    with pytest.raises(Nb2pipeError) as missing:
        platform.show_run("another", asked(), print)
    assert [found.code for found in missing.value.findings] == ["not-there"]
