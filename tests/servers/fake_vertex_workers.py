"""Runs worker pools as processes of this machine, with the environment that Vertex AI gives to its containers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1 import types

from nb2pipe.targets.workers import free_ports

NAMES = {"workerpool0": "chief", "workerpool1": "worker"}
"""What TF_CONFIG calls the pools."""


def run_custom_job(job: Any, folder: Path) -> str:
    """Runs the pools of a CustomJob; returns why it failed, "" if it did not."""
    job.set("RUNNING")
    number = job.message.name.rpartition("/")[2]
    return run_pools(job.message.job_spec, number, folder / f"job-{number}", job.stopped)


def run_tuning_job(job: Any, folder: Path) -> str:
    """Runs the trials of a HyperparameterTuningJob; their parameters are drawn at random."""
    job.set("RUNNING")
    message, draw = job.message, random.Random(0)
    trials = [
        types.Trial(id=str(index + 1), state=types.Trial.State.REQUESTED, parameters=_drawn(message.study_spec, draw))
        for index in range(message.max_trial_count)
    ]
    with ThreadPoolExecutor(message.parallel_trial_count) as pool:
        for trial in pool.map(lambda trial: _run_trial(job, trial, folder), trials):
            with job.changed:
                message.trials.append(trial)
    failed = [trial for trial in trials if trial.state == types.Trial.State.INFEASIBLE]
    limit = message.max_failed_trial_count
    return f"{len(failed)} trials failed" if limit and len(failed) >= limit else ""


def _drawn(study: Any, draw: random.Random) -> list[Any]:
    found = []
    for spec in study.parameters:
        if "double_value_spec" in spec:
            value: Any = draw.uniform(spec.double_value_spec.min_value, spec.double_value_spec.max_value)
        elif "integer_value_spec" in spec:
            value = float(draw.randint(spec.integer_value_spec.min_value, spec.integer_value_spec.max_value))
        else:
            values = spec.discrete_value_spec if "discrete_value_spec" in spec else spec.categorical_value_spec
            value = draw.choice(list(values.values))
        found.append(types.Trial.Parameter(parameter_id=spec.parameter_id, value=value))
    return found


def _run_trial(job: Any, trial: Any, folder: Path) -> Any:
    number, study = job.message.name.rpartition("/")[2], job.message.study_spec
    place = folder / f"job-{number}" / trial.id
    flags = [f"--{row.parameter_id}={row.value}" for row in trial.parameters]
    trial.state = types.Trial.State.ACTIVE
    reason = run_pools(job.message.trial_job_spec, number, place, job.stopped, trial.id, flags)
    rows = _metrics(place / "output.metrics", study.metrics[0].metric_id)
    if reason or not rows:
        trial.state = types.Trial.State.INFEASIBLE
        trial.infeasible_reason = reason or "no metric was reported"
        return trial
    trial.state = types.Trial.State.SUCCEEDED
    metric = types.Measurement.Metric(metric_id=study.metrics[0].metric_id, value=rows[-1][1])
    trial.final_measurement = types.Measurement(step_count=rows[-1][0], metrics=[metric])
    return trial


def _metrics(path: Path, name: str) -> list[tuple[int, float]]:
    """The (step, value) that hypertune reported, whose steps must rise."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    steps = [int(row["global_step"]) for row in rows]
    assert steps == sorted(set(steps)), f"steps do not rise: {steps}"
    return [(int(row["global_step"]), float(row[name])) for row in rows]


def run_pools(
    spec: Any, number: str, place: Path, stopped: threading.Event, trial: str = "", flags: Sequence[str] = ()
) -> str:
    """Runs every replica of a job; the first that fails ends the others. Returns why it failed, or ""."""
    place.mkdir(parents=True)
    hosts = {
        f"workerpool{i}": [f"127.0.0.1:{port}" for port in free_ports(pool.replica_count)]
        for i, pool in enumerate(spec.worker_pool_specs)
    }
    running: dict[str, subprocess.Popen[bytes]] = {}
    for i, pool in enumerate(spec.worker_pool_specs):
        for index in range(pool.replica_count):
            name = f"workerpool{i}"
            env = _environment(spec, hosts, name, index, number, trial) | {
                e.name: e.value for e in pool.container_spec.env
            }
            env["CLOUD_ML_HP_METRIC_FILE"] = str(
                place / ("output.metrics" if name == "workerpool0" else f"m{i}{index}")
            )
            command = [*without_pip(list(pool.container_spec.command)), *pool.container_spec.args, *flags]
            with (place / f"{name}-{index}.log").open("wb") as log:
                running[f"{name}-{index}"] = subprocess.Popen(
                    command, env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
    return _watched(running, stopped, float(spec.scheduling.timeout.total_seconds() or 3600))


def _watched(running: dict[str, subprocess.Popen[bytes]], stopped: threading.Event, limit: float) -> str:
    reason, started = "", time.monotonic()
    try:
        while running and not reason:
            for name, child in list(running.items()):
                status = child.poll()
                if status is not None:
                    del running[name]
                if status:
                    reason = f"The replica {name} exited with a non-zero status of {status}."
            if stopped.is_set():
                reason = "cancelled"
            if time.monotonic() - started > limit:
                reason = "the timeout was exceeded"
            time.sleep(0.05)
    finally:
        for child in running.values():
            child.terminate()
        for child in running.values():
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
    return reason


def _environment(
    spec: Any, hosts: dict[str, list[str]], pool: str, index: int, number: str, trial: str
) -> dict[str, str]:
    """A container's environment: nothing of this process but where Python and the cores are."""
    cluster = {NAMES[name]: found for name, found in hosts.items()}
    own = {"type": pool, "index": index, **({"trial": trial} if trial else {})}
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "OMP_NUM_THREADS": "1",
        "CLOUD_ML_PROJECT_ID": "123456",
        "CLOUD_ML_JOB_ID": number,
        "CLUSTER_SPEC": json.dumps({"cluster": hosts, "environment": "cloud", "task": own}),
    }
    if len(hosts) > 1:
        task = {"type": NAMES[pool], "index": index}
        env["TF_CONFIG"] = json.dumps({"cluster": cluster, "environment": "cloud", "task": task})
    if trial:
        env["CLOUD_ML_TRIAL_ID"] = trial
    prefix = spec.base_output_directory.output_uri_prefix
    if prefix:
        env["AIP_MODEL_DIR"] = "/".join([prefix, *([trial] if trial else []), "model/"])
    return env


def without_pip(command: list[str]) -> list[str]:
    """The command without the installation of packages: what runs here uses what is installed here."""
    if command[:2] == ["sh", "-c"] and "pip install" in command[2]:
        return ["sh", "-c", command[2].partition(" && ")[2], *command[3:]]
    return command
