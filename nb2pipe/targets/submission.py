"""What is asked for when a pipeline is submitted, and what came of it: frozen data without logic beside its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["dry-run", "scheduled", "pending", "running", "succeeded", "failed", "cancelled"]
"""What is known of a run: nothing was sent; a schedule was set; or the state that the platform gives, in our words."""

ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class KfpPlace:
    """Where a Kubeflow Pipelines is: its API's URL and namespace, and who asks.

    `token` is a bearer token; `token_file` a file with one, which is read again for each request. Without either the
    SDK's own ways are used. `ui` is the console's URL where that is not the API's. `ca` verifies the server.
    """

    host: str | None = None
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ui: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class VertexPlace:
    """Where on Vertex AI: project, region, and what only jobs there have. The login is Application Default Credentials.

    `network` is a VPC network's full name, `cmek` the name of a key of Cloud KMS that encrypts what is stored.
    `failure_policy` says whether other steps still start when one failed ("slow") or not ("fast").
    """

    project: str | None = None
    region: str | None = None
    network: str | None = None
    cmek: str | None = None
    failure_policy: Literal["slow", "fast"] | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are tried and waited for, in seconds: pauses between attempts double from `first` to `longest`;
    an answer may take `answer`; a run is looked at every `poll`; waiting for its end stops after `wait`, or never.
    For as long as `settle` what a request without an answer may still make is looked for before it is sent again."""

    attempts: int = 5
    first: float = 1.0
    longest: float = 30.0
    answer: float = 60.0
    settle: float = 20.0
    poll: float = 5.0
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How a project is submitted.

    `parameters` are values by the notebook's names, checked before anything is sent. `bucket` is the URI under which
    artifacts and uploaded input files lie (the pipeline root); `inputs` gives the URI of input files that are already
    there, by their path; the others are looked for in `home`. `caching` None leaves it to the steps. `schedule` is a
    cron expression of five fields; a schedule with the same `name` is replaced. `upload` makes a pipeline and a version
    of it that others can start. `image` is what `image` was when the project was generated.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    home: Path = Path()
    name: str | None = None
    experiment: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    caching: bool | None = None
    bucket: str | None = None
    service_account: str | None = None
    schedule: str | None = None
    upload: bool = False
    wait: bool = False
    dry_run: bool = False
    kfp: KfpPlace = field(default_factory=KfpPlace)
    vertex: VertexPlace = field(default_factory=VertexPlace)
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class StepState:
    """How a step of a submitted run stands. `state` is a State, "cached" or "skipped"; a failed one says where in the
    notebook (`cell` from 0, `line` from 1) where that is known, and has its `log` where that could be read."""

    name: str
    state: str
    seconds: float | None = None
    cell: int | None = None
    line: int | None = None
    message: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """A run (or schedule) on a platform.

    `id` is the platform's own name for it, `name` the one for people, `url` its page in the console. `request` is what
    was sent, or with a dry run would be: a list of requests, each `{"what", "body"}`, without any secret.
    `created` is an ISO time.
    """

    target: str
    state: State
    name: str
    url: str | None = None
    id: str | None = None
    request: Any = None
    created: str | None = None
    steps: tuple[StepState, ...] = ()
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document of `nb2pipe submit --json`, and of a run in those of `nb2pipe runs`."""
        failed = next((step for step in self.steps if step.state == "failed"), None)
        error = {"step": failed.name, **_place(failed)} if failed else None
        if error is None and self.state == "failed":
            error = {"step": None, "cell": None, "line": None, "message": self.message}
        return {
            "target": self.target,
            "state": self.state,
            "name": self.name,
            "url": self.url,
            "id": self.id,
            "created": self.created,
            "steps": [
                {"name": step.name, "state": step.state, "seconds": step.seconds, **_place(step)} for step in self.steps
            ],
            "error": error,
            "request": self.request,
        }


def _place(step: StepState) -> dict[str, Any]:
    return {"cell": step.cell, "line": step.line, "message": step.message}
