"""Where the Beam pipelines of a step run: on this machine, or on Dataflow.

task.py says with `on` what the parameters of the run ask for; without it pipelines run on this
machine. `Pipeline` is beam.Pipeline but for that. On Dataflow it takes this package along, so that
workers can import the step's functions, and moves the step's files to workers and back.
"""

from __future__ import annotations

import base64
import copy
import glob
import itertools
import os
import pickle
import posixpath
import re
import secrets
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineRunner, create_runner

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = __name__.partition(".")[0]

# What travels to workers beside the package, and what else they install.
MODULES: list[str] = []
DATAFLOW = "DataflowRunner"
DIRECT = "DirectRunner"
NEEDED = ("project", "region", "temp_location")


@dataclass(frozen=True)
class Place:
    """Where pipelines run and with what: `options` by the names that Beam has for them.

    `folder` is one of this machine that lasts as long as the step; `sinks` are the local paths of
    files that workers write, by where they write them.
    """

    step: str = "step"
    options: dict[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    folder: Path | None = None
    run: str = ""
    sinks: dict[str, str] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """Whether pipelines run on Dataflow."""
        return self.options.get("runner") == DATAFLOW

    @property
    def files(self) -> str:
        """The folder in Cloud Storage for the files of this run of the step."""
        folder = str(self.options.get("temp_location") or "")
        if not folder.startswith("gs://"):
            raise ValueError(f"beam_temp_location is {folder!r}, not a gs:// path")
        return f"{folder.rstrip('/')}/{self.run}/files"


_place: ContextVar[Place] = ContextVar("place", default=Place())


@contextmanager
def on(
    step: str, options: Mapping[str, Any], requirements: tuple[str, ...] = ()
) -> Iterator[None]:
    """Runs pipelines as `options` say as long as this lasts; empty ones leave it to the notebook.

    `requirements` are what workers install.
    """
    given = {name: value for name, value in options.items() if value not in ("", 0, None)}
    run = f"{PACKAGE}-{step}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    argv, paths = sys.argv, os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(step, given, tuple(requirements), Path(folder), run.replace("_", "-").lower())
        token = _place.set(place)
        # Beam reads options from the command line, and its own processes import the package.
        sys.argv = argv[:1]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), paths]))
        try:
            yield
        finally:
            sys.argv = argv
            os.environ.pop("PYTHONPATH")
            os.environ.update({} if paths is None else {"PYTHONPATH": paths})
            _place.reset(token)


class Pipeline(beam.Pipeline):
    """A Beam pipeline that runs where the step's parameters say, whatever runner it names.

    Its `run` waits for the end and raises if it failed; then the files that it wrote are there.
    """

    def __init__(
        self,
        runner: Any = None,
        options: PipelineOptions | None = None,
        argv: list[str] | None = None,
        **others: Any,
    ) -> None:
        given = PipelineOptions(argv or []) if options is None else options
        super().__init__(_runner(), placed(given), **others)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the pipeline to its end; its result."""
        _check_files(self)
        result = super().run(*args, **kwargs)
        result.wait_until_finish()
        _bring_home()
        return result


def placed(options: PipelineOptions) -> PipelineOptions:
    """A copy of the notebook's options with those of the run in them, which count more.

    Raises ValueError where Dataflow lacks one.
    """
    options, place = copy.deepcopy(options), _place.get()
    setup = options.view_as(SetupOptions)
    setup.save_main_session = False  # what workers need they import
    standard = options.view_as(StandardOptions)
    standard.runner = place.options.get("runner", DIRECT)
    standard.no_wait_until_finish = False
    if not place.is_remote:
        return options
    for view in (options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)):
        for name, value in place.options.items():
            if hasattr(view, name) and name != "runner":
                setattr(view, name, value)
    cloud = options.view_as(GoogleCloudOptions)
    missing = [f"beam_{name}" for name in NEEDED if not getattr(cloud, name)]
    if missing:
        raise ValueError(f"Dataflow needs the pipeline's parameters {', '.join(missing)}")
    place.options["temp_location"] = cloud.temp_location
    cloud.job_name = _job_name(cloud.job_name)
    setup.setup_file = None
    setup.extra_packages = [str(_package(place))]
    setup.requirements_file = _requirements_file(place)
    setup.requirements_cache = "skip"  # workers install them themselves
    return options


def _runner() -> PipelineRunner | None:
    """Beam's runner of this machine, as in a notebook; None where the options name another.

    Outside of a notebook it would fetch a program from the network and run pipelines in that.
    """
    if _place.get().options.get("runner", DIRECT) != DIRECT:
        return None
    runner = create_runner(DIRECT)
    if hasattr(runner, "is_interactive"):
        runner.is_interactive()
    return runner


def _job_name(wanted: str | None) -> str:
    """A name that no other job has: Dataflow refuses a second one of the same name."""
    base = re.sub(r"[^a-z0-9-]+", "-", (wanted or _place.get().run).lower()).strip("-")
    return f"{base}-{secrets.token_hex(4)}"


def _package(place: Place) -> Path:
    """A wheel of this package and of the notebook's own modules, for workers."""
    assert place.folder is not None
    wheel = place.folder / f"{PACKAGE}-0.1.0-py3-none-any.whl"
    if wheel.exists():
        return wheel
    tops = [ROOT / name for name in (PACKAGE, *MODULES)]
    found = ([top] if top.is_file() else sorted(top.rglob("*.py")) for top in tops)
    paths = [path for group in found for path in group]
    info = f"{PACKAGE}-0.1.0.dist-info"
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    texts[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n"
    texts[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{name},,\n" for name in (*texts, f"{info}/RECORD"))
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (*texts.items(), (f"{info}/RECORD", record)):
            archive.writestr(name, text)
    return wheel


def _requirements_file(place: Place) -> str | None:
    """A file with what workers install; Beam itself they have."""
    own = [spec for spec in place.requirements if not re.match(r"apache[-_.]beam\b", spec, re.I)]
    if not own or place.folder is None:
        return None
    path = place.folder / "requirements.txt"
    path.write_text("".join(f"{spec}\n" for spec in own), encoding="utf-8")
    return str(path)


# --- files ---------------------------------------------------------------------------------------
def source(pattern: Any) -> Any:
    """The path by which workers find the files that the step finds by `pattern`.

    On Dataflow they are copied to Cloud Storage; paths that are there already stay as they are.
    """
    place = _place.get()
    if not place.is_remote or not _is_local(pattern):
        return pattern
    for path in sorted(glob.glob(os.fspath(pattern))):
        if Path(path).is_file():
            with open(path, "rb") as local, FileSystems.create(_remote(path)) as remote:
                shutil.copyfileobj(local, remote)
    return _remote(os.fspath(pattern))


def sink(prefix: Any) -> Any:
    """The path that workers write to for files that the step shall find at `prefix`."""
    place = _place.get()
    if not place.is_remote or not _is_local(prefix):
        return prefix
    remote = _remote(os.fspath(prefix))
    place.sinks[remote] = os.fspath(prefix)
    return remote


def _is_local(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and "://" not in os.fspath(path)


def _remote(path: str) -> str:
    inside = posixpath.normpath(path).replace("../", "parent/").lstrip("/")
    return f"{_place.get().files}/{inside}"


def _bring_home() -> None:
    """Copies what workers wrote to where the step expects it."""
    for remote, local in _place.get().sinks.items():
        for found in FileSystems.match([remote + "*"])[0].metadata_list:
            path = Path(local + found.path.removeprefix(remote))
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileSystems.open(found.path) as file, open(path, "wb") as target:
                shutil.copyfileobj(file, target)


class _Files(beam.pipeline.PipelineVisitor):
    """The local files that the transforms of a pipeline read or write."""

    def __init__(self) -> None:
        self.local: list[str] = []

    def visit_transform(self, transform_node: Any) -> None:
        if transform_node.transform is None:
            return
        shown = beam.transforms.display.DisplayData.create_from(transform_node.transform)
        for item in shown.items:
            if item.key in ("file_pattern", "file_path") and _is_local(str(item.value)):
                self.local.append(str(item.value))

    enter_composite_transform = visit_transform


def _check_files(pipeline: beam.Pipeline) -> None:
    """Raises ValueError for a file of this machine, which Dataflow's workers would look for."""
    if not _place.get().is_remote:
        return
    found = _Files()
    pipeline.visit(found)
    if found.local:
        raise ValueError(f"Dataflow's workers do not have the file {found.local[0]}")


# --- values --------------------------------------------------------------------------------------
_numbers = itertools.count()


def collect(pcollection: Any) -> Any:
    """The elements of a PCollection as the DataFrame that ib.collect makes of them.

    Runs what leads to the PCollection and nothing else of its pipeline. Beam defines no order of
    the rows.
    """
    import pandas as pd

    if not isinstance(pcollection, beam.pvalue.PCollection):
        raise TypeError(f"{type(pcollection).__name__} is not a PCollection")
    place = _place.get()
    with tempfile.TemporaryDirectory() as here:
        folder = f"{place.files}/collected-{next(_numbers)}" if place.is_remote else here
        rows = _elements(pcollection, f"{folder}/part")
    try:
        fields = beam.typehints.schemas.named_fields_from_element_type(pcollection.element_type)
        names = [name for name, _ in fields]
    except TypeError:
        names = None
    whole = [isinstance(row, (pd.DataFrame, pd.Series)) for row in rows]
    return pd.concat(rows) if any(whole) else pd.DataFrame(rows, columns=names)


def _elements(pcollection: beam.pvalue.PCollection, prefix: str) -> list[Any]:
    """The elements, written to files that begin with `prefix` and read again."""
    fragment, wanted = _fragment(pcollection)
    texts = wanted | "collect" >> beam.Map(_packed)
    _ = texts | "collected" >> beam.io.WriteToText(prefix, num_shards=1)
    fragment.run().wait_until_finish()
    rows = []
    for found in FileSystems.match([prefix + "*"])[0].metadata_list:
        with FileSystems.open(found.path) as file:
            rows += [pickle.loads(base64.b64decode(line)) for line in file.read().split()]
    return rows


def _packed(element: Any) -> str:
    return base64.b64encode(pickle.dumps(element)).decode()


def _fragment(pcollection: beam.pvalue.PCollection) -> tuple[beam.Pipeline, Any]:
    """A pipeline of only what leads to the PCollection, and the PCollection in it."""
    whole = pcollection.pipeline
    proto, context = whole.to_runner_api(return_context=True)
    wanted = context.pcollections.get_id(pcollection)
    _prune(proto.components, wanted)
    options = placed(whole.options)
    fragment, again = beam.Pipeline.from_runner_api(
        proto, _runner(), options, return_context=True
    )
    return fragment, again.pcollections.get_by_id(wanted)


def _prune(components: Any, wanted: str) -> None:
    """Takes out all transforms and PCollections that `wanted` does not come from."""
    transforms = components.transforms
    leaves = {key: one for key, one in transforms.items() if not one.subtransforms}
    kept = _makers(leaves, wanted)
    made = {name for key in kept for name in leaves[key].outputs.values()}
    parents = {child: key for key, one in transforms.items() for child in one.subtransforms}
    for key in list(kept):
        while key in parents:
            key = parents[key]
            kept.add(key)
    for key in set(transforms) - kept:
        del transforms[key]
    for name in set(components.pcollections) - made:
        del components.pcollections[name]
    for one in transforms.values():
        for child in [child for child in one.subtransforms if child not in kept]:
            one.subtransforms.remove(child)
        for tag in [tag for tag, name in one.outputs.items() if name not in made]:
            del one.outputs[tag]


def _makers(leaves: Mapping[str, Any], wanted: str) -> set[str]:
    """The transforms that `wanted` comes from, side inputs included."""
    makers = {
        name: key
        for key, one in leaves.items()
        for name in one.outputs.values()
        if name not in one.inputs.values()
    }
    found: set[str] = set()
    todo = [wanted]
    while todo:
        key = makers[todo.pop()]
        todo += [] if key in found else leaves[key].inputs.values()
        found.add(key)
    return found
