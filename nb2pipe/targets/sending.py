"""What every submission does before and while it sends: checks, ids made once, attempts until an answer is there."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nb2pipe.findings import Finding, Nb2pipeError, finding
from nb2pipe.notebook.secrets import kind_of_secret
from nb2pipe.pipeline.kfp_view import is_exact, kfp_view
from nb2pipe.pipeline.values import parse_value
from nb2pipe.targets.base import Event, OnEvent, ParameterError, parameter_texts, read_map
from nb2pipe.targets.submission import Patience, SubmitOptions

T = TypeVar("T")
Json = dict[str, Any]
PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses of which the next attempt may be rid."""


class SubmitError(Nb2pipeError):
    """The pipeline was not submitted, or what came of it cannot be told; findings say which command mends it."""


# --- one id for one command -------------------------------------------------------------------------------------------
def new_id() -> str:
    """What marks everything that one command sends: 12 hexadecimal digits, made once."""
    return uuid.uuid4().hex[:12]


def run_name(graph: Mapping[str, Any], options: SubmitOptions, mark: str) -> str:
    """The run's name: the given one, or the pipeline's with the time and a part of the command's mark."""
    if options.name:
        return options.name
    return f"{str(graph['name']).replace('_', '-')}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{mark[:6]}"


# --- attempts ---------------------------------------------------------------------------------------------------------
def sent(
    send: Callable[[], T],
    *,
    patience: Patience,
    on_event: OnEvent,
    already: Callable[[Exception], T | None] = lambda error: None,
    passing: Callable[[BaseException], bool] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """What `send` gives, tried again while its failure may pass, after pauses that double, with jitter.

    `passing` says of which failure that is so (may_pass).
    Before it is tried again `already` is asked for what an attempt, which failed so, made although its answer was lost:
    nothing is sent twice. Raises what `send` raised last.
    """
    delay = patience.first
    failed: Exception | None = None
    for attempt in range(1, patience.attempts + 1):
        sending = False
        try:
            done = already(failed) if failed is not None else None
            if done is not None:
                return done
            sending = True
            return send()
        except Exception as error:
            if attempt == patience.attempts or not (passing or may_pass)(error):
                raise
            seconds = min(max(_retry_after(error), delay * random.uniform(0.5, 1.5)), patience.longest)
            on_event(Event("note", None, f"{reason(error)}; trying again in {seconds:.0f} s"))
            pause(seconds)
            failed = error if sending else failed
            delay = min(delay * 2, patience.longest)
    raise AssertionError("there is at least one attempt")


def late(look: Callable[[], T | None], failed: Exception, patience: Patience) -> T | None:
    """What a request that `failed` made all the same, for APIs that have no ids of requests: it is looked for as long
    as the server may still be at it (`settle`). A server that says 429 has not begun."""
    seconds = 0.0 if http_status(failed) == 429 else patience.settle
    until = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < until:
        time.sleep(min(patience.poll, seconds))
    return found


def may_pass(error: BaseException) -> bool:
    """Whether a request that failed so may succeed when it is sent again: too many, a server's fault, a connection."""
    status = http_status(error)
    if status:
        return status in PASSING
    causes = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    if causes & {"SSLError", "NameResolutionError", "gaierror", "LocationValueError", "InvalidURL", "MissingSchema"}:
        return False
    return bool(causes & {"ConnectionError", "TimeoutError", "HTTPException", "HTTPError", "Timeout", "RetryError"})


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error of any client speaks of; None where no answer came."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 100:
                return int(value)
    found = getattr(error, "response", None)
    metadata = found.get("ResponseMetadata", {}) if isinstance(found, dict) else {}
    return metadata.get("HTTPStatusCode")


def reason(error: BaseException) -> str:
    """An error in a few words, without what was sent."""
    status = http_status(error)
    return f"the server answered {status}" if status else f"no answer ({type(error).__name__})"


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The error and what is behind it, as exceptions of clients wrap others in several ways."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        one = queue.pop()
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return seen


def _retry_after(error: BaseException) -> float:
    headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return float(headers.get("Retry-After", 0))
    except (AttributeError, TypeError, ValueError):
        return 0.0


# --- what is sent -----------------------------------------------------------------------------------------------------
def fresh_pipeline(project: Path, compile: Callable[[Path], Path], platform: str) -> Json:
    """The compiled pipeline of a project: `{"spec", "platform"}`, None for no platform settings.

    It must be what `compile` makes of the project now, in the file that it is given. Raises SubmitError for one that is
    missing, stale or made for another platform, and CompileError.
    """
    file, made_for = project / "pipeline.yaml", read_map(project).get("platform", "kfp")
    if made_for != platform:
        message = f"{project} was generated for {made_for}, not for {platform}."
        raise SubmitError([_stale(project, message, f"Run `nb2pipe convert NOTEBOOK --target {platform}`.")])
    if not file.is_file():
        raise SubmitError([_stale(project, f"{project} has no pipeline.yaml: it was not compiled.")])
    with tempfile.TemporaryDirectory() as scratch:
        same = _plain(_documents(compile(Path(scratch) / "pipeline.yaml"))) == _plain(_documents(file))
    if not same:
        raise SubmitError([_stale(project, f"{file} is not what pipeline.py and its files compile to.")])
    spec, *platform_settings = _documents(file)
    return {"spec": spec, "platform": platform_settings[0] if platform_settings else None}


def _documents(path: Path) -> list[Any]:
    """The YAML documents of a compiled pipeline; none for what is no YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(yaml.load_all(path.read_text(encoding="utf-8"), loader))
    except (yaml.YAMLError, UnicodeDecodeError):
        return []


def _plain(documents: list[Any]) -> list[Any]:
    """The documents without the version of kfp that compiled them."""
    tables = [document if isinstance(document, dict) else {} for document in documents]
    return [{key: value for key, value in table.items() if key != "sdkVersion"} for table in tables]


def _stale(project: Path, message: str, hint: str | None = None) -> Finding:
    hint = hint or f"Run `python pipeline.py` in {project}, or `nb2pipe convert` again."
    return finding("stale-pipeline", message, name=str(project), hint=hint)


def pipeline_arguments(graph: Mapping[str, Any], spec: Json, options: SubmitOptions, files: Mapping[str, str]) -> Json:
    """The arguments of the compiled pipeline `spec`: the given parameters and the URIs of input `files` by their path.

    All are checked by name and type against the notebook's parameters, and against what the pipeline takes, which a
    person may have changed. Raises ParameterError.
    """
    view = kfp_view(dict(graph))
    rows = {row["name"]: row for row in view["parameters"]}
    takes = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    own = {name: value for name, value in options.parameters.items() if name in rows or name not in takes}
    texts = parameter_texts(graph, own)
    values = {rows[name]["argument"]: argument(rows[name], texts[name]) for name in own}
    values |= {name: _typed(name, value, takes[name]) for name, value in options.parameters.items() if name not in own}
    values |= {view["files"][path]: uri for path, uri in files.items()}
    wrong = [_mismatch(name, value, takes.get(name)) for name, value in values.items()]
    found = [one for one in wrong if one is not None]
    if found:
        raise ParameterError(found)
    return values


def argument(row: Mapping[str, Any], text: str) -> Any:
    """What the compiled pipeline takes for a parameter (a row of the view's) of the value `text`.

    Raises ParameterError for a number that kfp, which passes all of them as floats, would change.
    """
    if row["encoded"]:
        return json.dumps(text)
    value = parse_value(row["kind"], text)
    if row["kind"] != "str" and not is_exact(value):
        message = f"Parameter {row['name']}: kfp cannot pass {text} exactly."
        raise ParameterError([finding("parameter-type", message, name=row["name"])])
    return value


KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "NUMBER_INTEGER": ("int", (int,)),
    "NUMBER_DOUBLE": ("float", (int, float)),
    "BOOLEAN": ("bool", (bool,)),
    "STRING": ("str", (str,)),
    "LIST": ("list", (list,)),
    "STRUCT": ("dict", (dict,)),
}
"""The pipeline's types of parameters: our word for each, and the Python types of its values."""


def _typed(name: str, value: Any, declared: Mapping[str, Any]) -> Any:
    """The value of an argument that is the pipeline's only (as `trials` is), from text."""
    kind = KINDS[declared["parameterType"]][0]
    try:
        return parse_value(kind, value)
    except ValueError:
        message = f"The pipeline's argument {name} is a {kind}; {value!r:.200} is not one."
        raise ParameterError([finding("parameter-type", message, name=name)]) from None


def _mismatch(name: str, value: Any, declared: Mapping[str, Any] | None) -> Finding | None:
    if declared is None:
        return finding("unknown-parameter", f"The compiled pipeline takes no argument {name!r}.", name=name)
    kind, types = KINDS[declared["parameterType"]]
    if isinstance(value, types) and isinstance(value, bool) == (kind == "bool"):
        return None
    return finding("parameter-type", f"The compiled pipeline takes a {kind} for {name}, not {value!r:.200}.", name=name)


# --- checks -----------------------------------------------------------------------------------------------------------
def missing_places(wanted: Iterable[tuple[object, str, str]]) -> None:
    """Raises SubmitError with a finding for each (value, message, hint) whose value is not there."""
    lacking = [finding("missing-place", message, hint=hint) for value, message, hint in wanted if not value]
    if lacking:
        raise SubmitError(lacking)


def no_secrets(options: SubmitOptions) -> None:
    """Raises ParameterError for values of parameters that everybody could read who may look at the run."""
    kinds = {name: kind_of_secret(str(value)) for name, value in options.parameters.items()}
    wrong = [
        finding(
            "secret-in-code", f"The value of parameter {name} looks like {kind}: the run's page shows it.", name=name
        )
        for name, kind in kinds.items()
        if kind is not None
    ]
    if wrong:
        raise ParameterError(wrong)


FIELD = re.compile(r"(\*|\?|[\w*]+(-\w+)?)(/\d+)?(,(\*|\w+(-\w+)?)(/\d+)?)*")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def cron_fields(text: str) -> tuple[str, ...]:
    """The five fields of a cron expression: minute, hour, day, month, day of the week. Raises SubmitError."""
    fields = tuple(text.split())
    if len(fields) == 5 and all(_is_field(one, *bounds) for one, bounds in zip(fields, RANGES, strict=True)):
        return fields
    message = f"{text!r} is no cron expression of five fields (minute, hour, day, month, day of the week)."
    raise SubmitError([finding("bad-schedule", message, name=text)])


def _is_field(text: str, low: int, high: int) -> bool:
    numbers = [int(number) for number in re.findall(r"(?<![/\d])\d+", text)]
    steps = [int(number) for number in re.findall(r"/(\d+)", text)]
    return bool(FIELD.fullmatch(text)) and all(low <= n <= high for n in numbers) and all(n > 0 for n in steps)


def unused_options(options: SubmitOptions, names: Mapping[str, str], target: str) -> None:
    """Raises SubmitError for what was asked for and `target` cannot do: `names` gives an option for each field, dotted
    for one of a place."""
    plain = SubmitOptions()
    given = [option for name, option in names.items() if _field(options, name) != _field(plain, name)]
    if given:
        raise SubmitError([finding("not-for-target", f"{option} means nothing to {target}.") for option in given])


def _field(options: Any, name: str) -> Any:
    for part in name.split("."):
        options = getattr(options, part)
    return options
