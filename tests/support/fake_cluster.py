"""A Kubernetes on this machine, as far as jobs need one: its API over TLS, and containers that are processes here.

Requests are checked as a cluster checks them: token, namespace, group, version, the schema. Jobs get what Kubeflow's
operators give them: the variables of torchrun, dmlc and TensorFlow, Katib's values and its way to start a container.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kube_schemas import schema_errors
from loopback import Loopback

from nb2pipe.targets.workers import free_ports

Json = dict[str, Any]
NAMESPACE, TOKEN = "team-a", "s3cret"
KINDS = {
    ("trainer.kubeflow.org", "v1alpha1", "trainjobs"): "TrainJob",
    ("kubeflow.org", "v1", "tfjobs"): "TFJob",
    ("kubeflow.org", "v1beta1", "experiments"): "Experiment",
}
SITECUSTOMIZE = """
import os
if "FAKE_CLUSTER" in os.environ:
    from pathlib import Path
    from kubernetes.config import incluster_config
    folder = Path(os.environ["FAKE_CLUSTER"])
    incluster_config.SERVICE_TOKEN_FILENAME = str(folder / "token")
    incluster_config.SERVICE_CERT_FILENAME = str(folder / "ca.crt")
"""
PYTHON = """#!/bin/sh
case "$*" in "-m pip install "*) echo "$*" >> "$FAKE_PIP"; exit 0;; esac
exec {python} "$@"
"""


@dataclass
class Pod:
    """A pod of one container, which may have run before."""

    name: str
    labels: dict[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    ended: list[Json] = field(default_factory=list)
    waits: bool = False

    def describe(self) -> Json:
        last = {"terminated": self.ended[-1]} if self.ended else {}
        waiting: Json = {"waiting": {"reason": "CrashLoopBackOff"}} if self.waits else {"running": {}}
        over = bool(self.ended) and not self.waits
        status = {
            "name": "main", "image": "x", "imageID": "x", "ready": False, "restartCount": int(self.waits),
            "state": last if over else waiting, "lastState": {} if over else last,
        }  # fmt: skip
        return {
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"containerStatuses": [status]},
        }

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


class FakeCluster:
    """`faults` are what happens to the next requests, one each: a status, "drop" them, or be "deaf" with the answer.

    Without `runs` no job ever starts. With `restarts` a container that fails is started again, as a TrainJob does by
    default, and the job goes on; here it waits for that forever.
    """

    def __init__(self, folder: Path, *, runs: bool = True, restarts: bool = False) -> None:
        self.folder, self.runs, self.restarts = folder, runs, restarts
        self.faults: list[int | str] = []
        self.requests: list[str] = []
        self.jobs: dict[str, Json] = {}
        self.created: list[Json] = []
        self.deleted: list[str] = []
        self.pods: dict[str, list[Pod]] = {}
        self.secrets: dict[tuple[str, str], str] = {}
        self.environments: list[dict[str, str]] = []
        self.trials: list[Json] = []
        self.lock = threading.Lock()
        self._serving = ExitStack()

    def __enter__(self) -> FakeCluster:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(parents=True)
        (bin_folder / "python").write_text(PYTHON.format(python=shlex.quote(sys.executable)))
        (bin_folder / "python").chmod(0o755)
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "namespace").write_text(NAMESPACE + "\n")
        (self.folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
        key, certificate = self.folder / "key", self.folder / "ca.crt"
        words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fake -addext subjectAltName=IP:127.0.0.1".split()
        subprocess.run(["openssl", *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = Loopback(partial(Handler, self), context)
        self._serving.enter_context(self.server.serving())
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self.jobs):
            self.delete(name)
        self._serving.close()

    def environment(self) -> dict[str, str]:
        """The variables of a pod of this cluster that starts jobs."""
        host, port = self.server.host, str(self.server.port)
        own = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "JOB_POLL_SECONDS": "0.05"}
        own |= {"KFP_POD_NAME": "component", "KFP_POD_UID": "c0ffee", "FAKE_CLUSTER": str(self.folder)}
        return {**os.environ, **own, "PYTHONPATH": str(self.folder)}

    # --- objects ------------------------------------------------------------------------------------------------------
    def create(self, kind: str, manifest: Json) -> tuple[int, Json]:
        name = manifest.get("metadata", {}).get("name", "")
        if manifest.get("kind") != kind:
            return 400, {"message": f"the object is a {manifest.get('kind')}, not a {kind}"}
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])", name):
            return 422, {"message": f"metadata.name: Invalid value: {name!r}"}
        wrong = schema_errors(manifest)
        if wrong:
            return 422, {"message": "; ".join(wrong)}
        with self.lock:
            if name in self.jobs:
                return 409, {"message": f"{name} already exists"}
            self.jobs[name] = {**manifest, "status": {}}
            self.created.append(manifest)
            self.pods[name] = []
        if self.runs:
            threading.Thread(target=getattr(self, f"_run_{kind}"), args=(name, manifest), daemon=True).start()
        return 201, manifest

    def delete(self, name: str) -> None:
        with self.lock:
            self.jobs.pop(name, None)
            self.deleted.append(name)
        for pod in self.pods[name]:
            if pod.process and pod.process.poll() is None:
                os.killpg(pod.process.pid, 9)

    def _says(self, name: str, *conditions: str, **status: Any) -> None:
        with self.lock:
            if name in self.jobs:
                rows = [{"type": c, "status": "True", "reason": f"The{c}", "message": f"it is {c}"} for c in conditions]
                self.jobs[name]["status"] = {"conditions": rows, **status}

    # --- operators ----------------------------------------------------------------------------------------------------
    def _run_TrainJob(self, name: str, manifest: Json) -> None:
        spec = manifest["spec"]
        trainer, port = spec["trainer"], str(free_ports(1)[0])
        size, runtime = str(trainer["numNodes"]), spec["runtimeRef"]["name"]
        variables = {
            "torch-distributed": {
                "PET_NNODES": size, "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": "{rank}",
                "PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": port,
            },
            "xgboost-distributed": {
                "DMLC_TRACKER_URI": "localhost", "DMLC_TRACKER_PORT": port, "DMLC_TASK_ID": "{rank}",
                "DMLC_NUM_WORKER": size,
            },
        }[runtime]  # fmt: skip
        labels = {"jobset.sigs.k8s.io/jobset-name": name}
        pods = []
        for rank in range(int(size)):
            extra = {key: value.format(rank=rank) for key, value in variables.items()}
            pods.append(self._start(name, f"{name}-node-0-{rank}", labels, trainer, extra))
        self._finish(name, pods, "Complete")

    def _run_TFJob(self, name: str, manifest: Json) -> None:
        self._says(name, "Created", "Running")
        replicas = manifest["spec"]["tfReplicaSpecs"]
        hosts = {
            kind.lower(): [f"localhost:{port}" for port in free_ports(r["replicas"])] for kind, r in replicas.items()
        }
        labels, pods = {"training.kubeflow.org/job-name": name}, []
        for kind, replica in replicas.items():
            [container] = replica["template"]["spec"]["containers"]
            assert container["name"] == "tensorflow"
            for index in range(replica["replicas"]):
                config = {"cluster": hosts, "task": {"type": kind.lower(), "index": index}, "environment": "cloud"}
                extra = {"TF_CONFIG": json.dumps(config)}
                pods.append(self._start(name, f"{name}-{kind.lower()}-{index}", labels, container, extra))
        self._finish(name, pods, "Succeeded")

    def _finish(self, name: str, pods: list[Pod], done: str) -> None:
        """Waits for the containers of a job, one of which may fail."""
        codes = [self._wait(pod) for pod in pods]
        if not any(codes):
            self._says(name, done)
        elif not self.restarts:
            self._says(name, "Failed")

    def _run_Experiment(self, name: str, manifest: Json) -> None:
        spec = manifest["spec"]
        chance, metric = random.Random(0), spec["objective"]["objectiveMetricName"]
        [pattern] = spec["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"]
        for number in range(spec["maxTrialCount"]):
            values = {row["name"]: _proposed(row, number, chance) for row in spec["parameters"]}
            pod = self._trial(name, f"{name}-{number}", spec["trialTemplate"], values)
            code = self._wait(pod)
            found = [m[2] for line in self._metrics(pod) if (m := re.search(pattern, line)) and m[1] == metric]
            self.trials.append({"values": values, "metrics": found, "code": code})
            if name not in self.jobs:
                return
        done = [trial for trial in self.trials if not trial["code"] and trial["metrics"]]
        pick = min if spec["objective"]["type"] == "minimize" else max
        best = pick(done, key=lambda trial: float(trial["metrics"][-1]), default=None)
        rows = [{"name": key, "value": value} for key, value in best["values"].items()] if best else []
        self._says(name, "Created", "Succeeded", currentOptimalTrial={"parameterAssignments": rows})

    def _trial(self, name: str, trial: str, template: Json, values: Mapping[str, str]) -> Pod:
        """A trial's pod: Katib puts values into the text of the template, and words together to a command."""
        text = json.dumps(template["trialSpec"])
        for row in template["trialParameters"]:
            text = text.replace(f"${{trialParameters.{row['name']}}}", values[row["reference"]])
        assert "${trialParameters." not in text
        [container] = json.loads(text)["spec"]["template"]["spec"]["containers"]
        assert container["name"] == template["primaryContainerName"]
        words = [*container["command"], *container.get("args", [])]
        shell, words = (words[:2], words[2:]) if words[:2] == ["sh", "-c"] else (["sh", "-c"], words)
        stopped = 'if test -f $$.pid; then echo stopped; else echo "Training Container was Failed"; exit 1; fi'
        line = " ".join([*words, "1>metrics.log 2>&1", "||", stopped, "&&", "echo completed > $$$$.pid"])
        container = {**container, "command": shell, "args": [line]}
        labels = {"katib.kubeflow.org/experiment": name, "katib.kubeflow.org/trial": trial}
        return self._start(name, f"{trial}-pod", labels, container, {})

    def _metrics(self, pod: Pod) -> list[str]:
        path = pod.folder / "metrics.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    # --- containers ---------------------------------------------------------------------------------------------------
    def _start(self, job: str, name: str, labels: Json, container: Json, extra: Mapping[str, str]) -> Pod:
        folder = self.folder / "pods" / name
        folder.mkdir(parents=True)
        message = folder / "termination-log"
        message.touch()
        env = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "OMP_NUM_THREADS": "1",
            "TERMINATION_LOG": str(message), "FAKE_PIP": str(self.folder / "pip"),
        }  # fmt: skip
        for row in container.get("env", []):
            source = row.get("valueFrom", {}).get("secretKeyRef")
            env[row["name"]] = self.secrets[source["name"], source["key"]] if source else expanded(row["value"], env)
        env |= extra
        self.environments.append(env)
        words = [expanded(word, env) for word in [*container["command"], *container.get("args", [])]]
        pod = Pod(name, labels, folder)
        with self.lock, (folder / "log").open("wb") as log:
            self.pods[job].append(pod)
            if job in self.jobs:
                pod.process = subprocess.Popen(
                    words, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True
                )
        return pod

    def _wait(self, pod: Pod) -> int:
        code = pod.process.wait() if pod.process else 1
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = (pod.folder / "termination-log").read_text(encoding="utf-8")[:4096]
        row = {"exitCode": code, "startedAt": now, "finishedAt": now, "message": message}
        with self.lock:
            pod.ended.append(row)
            pod.waits = bool(code) and self.restarts
        return code


def expanded(text: str, env: Mapping[str, str]) -> str:
    """A value as Kubernetes reads it: $(NAME) is another variable, $$ a dollar."""
    return re.sub(r"\$(\$|\(([\w.-]+)\))", lambda m: "$" if m[1] == "$" else env.get(m[2], m[0]), text)


def _proposed(row: Json, number: int, chance: random.Random) -> str:
    space = row["feasibleSpace"]
    if "list" in space:
        return str(space["list"][number % len(space["list"])])
    low, high = float(space["min"]), float(space["max"])
    value = (
        low * (high / low) ** chance.random() if space["distribution"] == "logUniform" else chance.uniform(low, high)
    )
    return str(round(value)) if row["parameterType"] == "int" else repr(value)


class Handler(BaseHTTPRequestHandler):
    """One request to the API."""

    protocol_version = "HTTP/1.1"

    def __init__(self, cluster: FakeCluster, *words: Any) -> None:
        self.cluster = cluster
        super().__init__(*words)

    def log_message(self, format: str, *words: Any) -> None:
        self.cluster.requests.append(format % words)

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.cluster.faults.pop(0) if self.cluster.faults else None
        if fault == "drop":
            self.connection.close()
            self.close_connection = True
            return
        if isinstance(fault, int):
            self._answer(fault, {"message": f"fault {fault}"})
            return
        status, answer = self._result(body)
        if fault == "deaf":
            self.connection.close()
            self.close_connection = True
            return
        self._answer(status, answer)

    def _answer(self, status: int, answer: Json | str) -> None:
        text = answer if isinstance(answer, str) else json.dumps({"status": "Failure", **answer})
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _result(self, body: bytes) -> tuple[int, Json | str]:
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or token != TOKEN:
            return 401, {"message": "Unauthorized"}
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:1] == ["apis"] and len(parts) in (6, 7) and parts[3] == "namespaces":
            if parts[4] != NAMESPACE:
                return 403, {"message": f"not allowed in namespace {parts[4]}"}
            kind = KINDS.get((parts[1], parts[2], parts[5]))
            return self._custom(kind, parts[6:], body) if kind else (404, {"message": "page not found"})
        if parts[:4] == ["api", "v1", "namespaces", NAMESPACE] and parts[4:5] == ["pods"]:
            return self._pods(parts[5:], parse_qs(url.query))
        return 404, {"message": "page not found"}

    def _custom(self, kind: str, names: list[str], body: bytes) -> tuple[int, Json]:
        cluster = self.cluster
        if self.command == "POST" and not names:
            return cluster.create(kind, json.loads(body))
        if len(names) != 1 or cluster.jobs.get(names[0], {}).get("kind") != kind:
            return 404, {"message": f"{kind} {names} not found"}
        if self.command == "DELETE":
            cluster.delete(names[0])
            return 200, {}
        return 200, cluster.jobs[names[0]]

    def _pods(self, names: list[str], query: Mapping[str, list[str]]) -> tuple[int, Json | str]:
        pods = [pod for group in list(self.cluster.pods.values()) for pod in list(group)]
        if not names:
            label, _, value = query["labelSelector"][0].partition("=")
            with self.cluster.lock:
                return 200, {"items": [pod.describe() for pod in pods if pod.labels.get(label) == value]}
        [pod] = [pod for pod in pods if pod.name == names[0]]
        if names[1:] != ["log"]:
            return 404, {"message": "page not found"}
        lines = pod.log.splitlines()[-int(query["tailLines"][0]) :]
        return 200, "\n".join(lines)


def wait_until(done: Any, seconds: float = 20.0) -> None:
    """Waits for what threads and processes do."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
