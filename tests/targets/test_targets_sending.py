"""What every submission does before it sends, and how it sends: checks, uploads, attempts."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_project import MakeProject, Project, step

from nb2pipe.findings import Nb2pipeError
from nb2pipe.targets import storage
from nb2pipe.targets.base import ParameterError, load_platform, read_map
from nb2pipe.targets.kfp import compile
from nb2pipe.targets.sending import SubmitError, cron_fields, fresh_pipeline, late, may_pass, pipeline_arguments, sent
from nb2pipe.targets.storage import staged, upload
from nb2pipe.targets.submission import KfpPlace, Patience, StepState, Submission, SubmitOptions

OPTIONS = SubmitOptions(bucket="gs://bucket/root")


class Answered(Exception):
    """An error of a client that got an answer."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__("no")
        self.status, self.headers = status, headers or {}


def attempts(outcomes: list[Any], **given: Any) -> tuple[Any, list[float]]:
    """What `sent` gives of these outcomes, one an attempt, and its pauses."""
    pauses: list[float] = []

    def send() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    options: dict[str, Any] = {"patience": Patience(attempts=4, first=1, longest=3), "on_event": lambda event: None}
    return sent(send, pause=pauses.append, **{**options, **given}), pauses


def codes(caught: pytest.ExceptionInfo[Any]) -> list[str]:
    return [one.code for one in caught.value.findings]


@pytest.mark.parametrize(("share", "wanted"), [(0.0, [0.5, 1.0, 1.5]), (0.5, [1.0, 2.0, 3.0]), (1.0, [1.5, 3.0, 3.0])])
def test_what_may_pass_is_tried_again_after_longer_pauses(
    monkeypatch: pytest.MonkeyPatch, share: float, wanted: list[float]
) -> None:
    """The pauses are drawn between half and one and a half of what doubles, and none is longer than the longest."""
    monkeypatch.setattr("random.uniform", lambda low, high: low + share * (high - low))
    done, pauses = attempts([Answered(503), ConnectionResetError(), TimeoutError(), "done"])
    assert done == "done"
    assert pauses == wanted


def test_a_server_says_how_long_to_wait() -> None:
    assert attempts([Answered(429, {"Retry-After": "2"}), "done"]) == ("done", [2.0])


@pytest.mark.parametrize("error", [Answered(400), Answered(401), Answered(403), ValueError("x"), socket.gaierror("x")])
def test_what_does_not_pass_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        attempts([error, "never"])


def test_attempts_end() -> None:
    with pytest.raises(Answered):
        attempts([Answered(500)] * 4 + ["never"])


def test_what_a_lost_answer_made_is_found_before_it_is_sent_again() -> None:
    assert attempts([ConnectionResetError(), "twice"], already=lambda error: "once")[0] == "once"
    assert attempts(["first", "twice"], already=lambda error: "of another command")[0] == "first"


def test_what_was_made_is_looked_for_by_the_last_attempt_that_was_sent() -> None:
    asked: list[Any] = []

    def already(failed: Exception) -> Any:
        asked.append(failed)
        if len(asked) == 2:
            raise Answered(503)

    lost = ConnectionResetError()
    assert attempts([Answered(429), lost, "done"], already=already)[0] == "done"
    assert [type(error) for error in asked] == [Answered, ConnectionResetError, ConnectionResetError]


def test_what_a_server_makes_late_is_waited_for() -> None:
    looks = iter([None, None, "made"])
    patience = Patience(settle=30, poll=0.001)
    assert late(lambda: next(looks), ConnectionResetError(), patience) == "made"
    assert late(lambda: None, ConnectionResetError(), replace(patience, settle=0.002)) is None
    assert late(lambda: None, Answered(429), replace(patience, settle=3600)) is None


def test_errors_of_clients_are_known_by_what_is_behind_them() -> None:
    import urllib3

    refused = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type]
    unknown = urllib3.exceptions.NameResolutionError("host", None, socket.gaierror())  # type: ignore[arg-type]
    assert may_pass(urllib3.exceptions.MaxRetryError(None, "/", refused))  # type: ignore[arg-type]
    assert not may_pass(urllib3.exceptions.MaxRetryError(None, "/", unknown))  # type: ignore[arg-type]
    assert may_pass(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError()))


@pytest.mark.parametrize("text", ["0 6 * * *", "*/15 0-6,20 1 jan-mar mon", "0 0 1,15 * 7"])
def test_a_schedule(text: str) -> None:
    assert cron_fields(text) == tuple(text.split())


@pytest.mark.parametrize(
    "text", ["", "0 6 * *", "60 6 * * *", "0 24 * * *", "0 6 * * * *", "*/0 * * * *", "a-b-c * * * *"]
)
def test_no_schedule(text: str) -> None:
    with pytest.raises(SubmitError) as caught:
        cron_fields(text)
    assert codes(caught) == ["bad-schedule"]


# --- the compiled pipeline --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def compiled_once() -> list[bytes]:
    return []


@pytest.fixture
def compiled(fares: Project, compiled_once: list[bytes]) -> Project:
    """The project with its pipeline.yaml, which is the same for every test."""
    if not compiled_once:
        compiled_once.append(compile(fares.root).read_bytes())
    (fares.root / "pipeline.yaml").write_bytes(compiled_once[0])
    return fares


def fresh(project: Project, platform: str = "kfp") -> dict[str, Any]:
    return fresh_pipeline(project.root, lambda output: compile(project.root, None, output), platform)


def test_what_is_sent_is_what_the_project_compiles_to(compiled: Project) -> None:
    assert fresh(compiled)["spec"]["pipelineInfo"]["name"] == "fares"
    compiled.edit("report", "def report(model, n, kinds):\n    print(1)\n")
    with pytest.raises(SubmitError) as caught:
        fresh(compiled)
    assert codes(caught) == ["stale-pipeline"]


@pytest.mark.parametrize("text", [None, "", "[", "a: 1\n"])
def test_a_damaged_pipeline_is_not_sent(compiled: Project, text: str | None) -> None:
    file = compiled.root / "pipeline.yaml"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(SubmitError) as caught:
        fresh(compiled)
    assert codes(caught) == ["stale-pipeline"]


def test_a_project_for_another_platform_is_not_sent(compiled: Project) -> None:
    with pytest.raises(SubmitError) as caught:
        fresh(compiled, "vertex")
    assert "--target vertex" in caught.value.findings[0].hint


def arguments(project: Project, **parameters: Any) -> dict[str, Any]:
    import yaml

    spec = next(yaml.safe_load_all((project.root / "pipeline.yaml").read_text()))
    options = SubmitOptions(parameters=parameters)
    return pipeline_arguments(read_map(project.root)["pipeline"], spec, options, {"data/fares.csv": "gs://b/f"})


def test_arguments_are_checked_and_typed(compiled: Project) -> None:
    given = arguments(compiled, rows="4", scale=2, verbose="true", names="[1]", label="x")
    assert given == {
        "rows": 4, "scale": 2.0, "verbose": True, "names": "[1]", "label": "x", "data_fares_csv": "gs://b/f",
    }  # fmt: skip
    assert type(given["scale"]) is float


def test_wrong_arguments_are_refused_together(compiled: Project) -> None:
    with pytest.raises(ParameterError) as caught:
        arguments(compiled, rows="x", nope=1)
    assert codes(caught) == ["parameter-type", "unknown-parameter"]


def test_an_edited_pipeline_has_the_last_word_on_its_arguments(compiled: Project) -> None:
    file = compiled.root / "pipeline.py"
    text = file.read_text().replace("def pipeline(\n    rows:", "def pipeline(\n    more:")
    file.write_text(text.replace("rows=rows,\n        scale", "rows=more,\n        scale"))
    compile(compiled.root)
    assert arguments(compiled, more="7")["more"] == 7
    with pytest.raises(ParameterError):
        arguments(compiled, more="x")
    with pytest.raises(ParameterError):
        arguments(compiled, rows=1)


# --- input files ------------------------------------------------------------------------------------------------------
class Bucket:
    """A bucket in memory that notes what it is asked, and fails as told."""

    def __init__(self, faults: list[Exception]) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults, self.asked = faults, []  # type: ignore[var-annotated]

    def _called(self, what: str) -> None:
        self.asked.append(what)
        if self.faults:
            raise self.faults.pop(0)

    def holds(self, name: str, size: int) -> bool:
        self._called("holds")
        return len(self.objects.get(name, b"")) == size

    def put(self, name: str, path: Path) -> None:
        self._called("put")
        assert name not in self.objects
        self.objects[name] = path.read_bytes()


def planned(project: Project, options: SubmitOptions = OPTIONS) -> storage.Staged:
    return staged(read_map(project.root)["pipeline"], replace(options, home=project.notebook_dir))


PATIENCE = Patience(attempts=3, first=0, longest=0)


def test_a_file_lies_where_its_content_says_and_is_uploaded_once(
    fares: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket([Answered(503)])
    monkeypatch.setattr(storage, "STORES", {"gs": lambda name: bucket})
    first = planned(fares)
    uri = first.uris["data/fares.csv"]
    assert uri.startswith("gs://bucket/root/nb2pipe/inputs/")
    assert uri.endswith("/fares.csv")
    counts = [upload(planned(fares), PATIENCE, lambda event: None) for _ in range(2)]
    assert counts == [1, 0]
    assert bucket.asked == ["holds", "holds", "put", "holds"]
    assert bucket.objects == {uri.removeprefix("gs://bucket/"): b"1.5\n2.5\n3.5\n4.5\n"}
    (fares.notebook_dir / "data" / "fares.csv").write_text("1.5\n2.5\n3.5\n4.6\n")
    assert planned(fares).uris != first.uris


def test_a_folder_is_uploaded_file_by_file(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    from nb2pipe.pipeline.model import InputFile

    project = make_project({step("a", files_in=(InputFile("data"),)): "def a(): pass"}, input_files=("data",))
    for name in ("one.txt", "sub/two.txt"):
        (project.notebook_dir / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.notebook_dir / "data" / name).write_text(name)
    bucket = Bucket([])
    monkeypatch.setattr(storage, "STORES", {"gs": lambda name: bucket})
    plan = planned(project)
    assert upload(plan, PATIENCE, lambda event: None) == 2
    root = plan.uris["data"].removeprefix("gs://bucket/")
    assert bucket.objects == {f"{root}/{name}": name.encode() for name in ("one.txt", "sub/two.txt")}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (SubmitOptions(), "missing-place"),
        (SubmitOptions(bucket="bucket"), "bad-bucket"),
        (SubmitOptions(bucket="http://x/y"), "bad-bucket"),
        (SubmitOptions(bucket="minio://mlpipeline"), "missing-place"),
        (SubmitOptions(bucket="gs://b", inputs={"other.csv": "gs://x/y"}), "unknown-input"),
    ],
    ids=str,
)
def test_a_file_with_nowhere_to_go(
    fares: Project, options: SubmitOptions, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(SubmitError) as caught:
        planned(fares, options)
    assert codes(caught) == [code]


def test_a_file_that_is_there_already_is_not_looked_for(fares: Project) -> None:
    (fares.notebook_dir / "data" / "fares.csv").unlink()
    plan = planned(fares, SubmitOptions(inputs={"data/fares.csv": "gs://other/f.csv"}))
    assert (plan.uris, plan.uploads) == ({"data/fares.csv": "gs://other/f.csv"}, ())
    with pytest.raises(SubmitError) as caught:
        planned(fares)
    assert codes(caught) == ["missing-input"]


def test_a_failed_upload_says_what_mends_it(fares: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "STORES", {"gs": lambda name: Bucket([Answered(403)])})
    with pytest.raises(SubmitError) as caught:
        upload(planned(fares), PATIENCE, lambda event: None)
    assert "Storage Object User" in caught.value.findings[0].hint


# --- documents --------------------------------------------------------------------------------------------------------
def test_a_token_is_not_shown() -> None:
    assert "s3cret" not in repr(SubmitOptions(kfp=KfpPlace(token="s3cret")))


def test_the_document_names_the_failed_step() -> None:
    steps = (StepState("a", "succeeded", 1.0), StepState("b", "failed", 2.0, 4, 2, "ValueError: x"))
    document = json.loads(json.dumps(Submission("kfp", "failed", "n", steps=steps).to_json()))
    assert document["error"] == {"step": "b", "cell": 4, "line": 2, "message": "ValueError: x"}
    assert Submission("kfp", "running", "n", steps=steps[:1]).to_json()["error"] is None


def test_nothing_is_submitted_to_this_machine() -> None:
    with pytest.raises(Nb2pipeError) as caught:
        load_platform("local")
    assert codes(caught) == ["not-a-platform"]
