"""The command line: words in, documents and messages out, exit status. Nothing is decided here."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from nb2pipe import __version__
from nb2pipe.findings import Finding, Nb2pipeError, errors

if TYPE_CHECKING:
    from nb2pipe.convert import Conversion
    from nb2pipe.targets.base import Event, OnEvent, RunResult
    from nb2pipe.targets.tune import Trial, Tuned

NOTEBOOK = click.argument("notebook", type=click.Path(path_type=Path))
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


class Speech:
    """How much is said on standard error, and whether the document on standard output is JSON."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            click.echo(text, err=True)

    def document(self, content: Any, text: str) -> None:
        """The result: one JSON document, or its text for people."""
        click.echo(json.dumps(content, indent=2, ensure_ascii=False) if self.as_json else text)

    def findings(self, found: Iterable[Finding], sources: Sequence[str] = ()) -> None:
        """Findings for people; notes only when asked for."""
        for one in found:
            if one.severity == "error" or (not self.quiet and (self.verbose or one.severity == "warning")):
                click.echo(rendered(one, sources), err=True)


def rendered(found: Finding, sources: Sequence[str] = ()) -> str:
    """A finding with its place, the source line and the way out."""
    where = "" if found.cell is None else f" cell {found.cell}" + (f" line {found.line}" if found.line else "")
    head = click.style(f"{found.severity}[{found.code}]", fg=COLOURS[found.severity], bold=True)
    lines = [f"{head}{where}: {found.message}"]
    source = _source_line(found, sources)
    if source:
        lines += [f"  {found.line:>4} | {source}"]
    return "\n".join([*lines, f"       = {found.hint}"])


def _source_line(found: Finding, sources: Sequence[str]) -> str:
    if found.cell is None or not found.line or found.cell >= len(sources):
        return ""
    lines = sources[found.cell].split("\n")
    return lines[found.line - 1].rstrip() if found.line <= len(lines) else ""


def common(command: Callable[..., int]) -> Callable[..., None]:
    """The options of every command, its errors and its exit status."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="Say errors only.")
    @click.option("-v", "--verbose", is_flag=True, help="Say notes too.")
    @wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: bool, **words: Any) -> None:
        speech = Speech(as_json=as_json, quiet=quiet, verbose=verbose)
        try:
            status = command(speech, *args, **words)
        except Nb2pipeError as error:
            status = _failed(speech, error)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            status = 130
        sys.exit(status)

    return wrapped


def _failed(speech: Speech, error: Nb2pipeError) -> int:
    """Say an error; 2 for wrong usage, 1 for everything else."""
    if speech.as_json:
        from nb2pipe.convert import finding_json

        click.echo(json.dumps({"findings": [finding_json(f) for f in error.findings]}, indent=2, ensure_ascii=False))
    speech.findings(error.findings)
    return 2 if type(error).__name__ == "ParameterError" else 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="nb2pipe %(version)s")
def cli() -> None:
    """Turn a tagged Jupyter notebook into a pipeline that computes what the notebook computed."""


def _load(notebook: Path, **overrides: Any) -> Conversion:
    from nb2pipe.convert import load

    return load(notebook, **overrides)


def _sources(conversion: Conversion) -> list[str]:
    return [c.source for c in conversion.notebook.cells]


@cli.command()
@NOTEBOOK
@common
def check(speech: Speech, notebook: Path) -> int:
    """Show steps, inputs, outputs and findings of a notebook. Runs nothing."""
    conversion = _load(notebook)
    document = conversion.check()
    speech.findings(conversion.findings, _sources(conversion))
    speech.document(document, check_text(document, reasons=speech.verbose))
    return 1 if errors(conversion.findings) else 0


def check_text(document: dict[str, Any], *, reasons: bool = False) -> str:
    """The steps for people; `reasons` says too why a step becomes a script instead of a function."""
    lines = [f"{document['pipeline']}: {len(document['steps'])} steps, {len(document['parameters'])} parameters"]
    for step in document["steps"]:
        lines.append(f"  {step['name']} (cells {', '.join(map(str, step['cells']))})")
        if reasons and step.get("form_reason"):
            lines.append(f"    a script, not a function: {step['form_reason']}")
        lines += [f"    takes {i['name']} from {i['from']}   [{i['why']}]" for i in step["inputs"]]
        lines += [f"    gives {o['name']}   [{o['why']}]" for o in step["outputs"]]
        for word, key in (("parameters", "parameters"), ("reads files", "files_in"), ("writes files", "files_out")):
            if step[key]:
                lines.append(f"    {word}: {', '.join(step[key])}")
    return "\n".join(lines)


@cli.command()
@NOTEBOOK
@common
def tag(speech: Speech, notebook: Path) -> int:
    """Show which cells belong to which step."""
    conversion = _load(notebook)
    document = conversion.tags()
    speech.findings(conversion.layout.findings, _sources(conversion))
    speech.document(document, tag_text(document))
    return 1 if errors(conversion.layout.findings) else 0


def tag_text(document: dict[str, Any]) -> str:
    """One line a cell."""
    rows = [(f"cell {c['cell']}", c["step"] or c["role"], ", ".join(c["tags"]) or c["why"]) for c in document["cells"]]
    widths = [max((len(r[i]) for r in rows), default=0) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)


@cli.command()
@NOTEBOOK
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="The project's folder (default: beside the notebook)."
)
@click.option("--target", type=str, help="What to compile for: kfp or vertex.")
@click.option("--name", help="The pipeline's name.")
@click.option("--base-image", help="The container image that steps run in.")
@click.option("--image", help="An image with the project in it: components become thin.")
@click.option("--check", "only_check", is_flag=True, help="Say whether the project is up to date; write nothing.")
@common
def convert(
    speech: Speech,
    notebook: Path,
    out: Path | None,
    target: str | None,
    name: str | None,
    base_image: str | None,
    image: str | None,
    only_check: bool,
) -> int:
    """Generate the project and compile the pipeline."""
    conversion = _load(notebook, name=name, base_image=base_image, image=image, target=target)
    if only_check:
        found = conversion.stale(out)
        from nb2pipe.convert import finding_json

        speech.findings(found)
        speech.document(
            {"stale": bool(found), "findings": [finding_json(f) for f in found]}, "stale" if found else "up to date"
        )
        return 1 if found else 0
    speech.findings([f for f in conversion.findings if f.severity != "error"], _sources(conversion))
    converted = conversion.convert(out, target)
    speech.findings(converted.written.findings)
    speech.document(converted.to_json(), f"{converted.project}: {len(converted.written.written)} files written")
    return 1 if converted.written.conflicts else 0


@cli.command()
@click.argument("notebook_or_project", type=click.Path(path_type=Path))
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many steps may run at a time.")
@click.option("--no-cache", is_flag=True, help="Run every step anew.")
@click.option("--engine", type=click.Choice(["process", "kfp"]), default="process", help="What runs the steps.")
@click.option("--workers", type=click.IntRange(min=1), help="How many workers a step gets that has `workers:`.")
@common
def run(
    speech: Speech,
    notebook_or_project: Path,
    given: tuple[str, ...],
    jobs: int | None,
    no_cache: bool,
    engine: str,
    workers: int | None,
) -> int:
    """Run the pipeline on this machine."""
    parameters = _assignments(given)
    options: dict[str, Any] = {"jobs": jobs, "cache": not no_cache, "engine": engine, "workers": workers}
    options["on_event"] = _progress(speech)
    if notebook_or_project.is_dir():
        from nb2pipe.codegen.write import recover
        from nb2pipe.convert import run_project

        recover(notebook_or_project)
        home = notebook_or_project.resolve()
        home = home.parent if not _inputs_in(home) else home
        result = run_project(notebook_or_project, home, parameters, **options)
    else:
        conversion = _load(notebook_or_project)
        speech.findings([f for f in conversion.findings if f.severity != "error"], _sources(conversion))
        result = conversion.run(parameters, **options)
    speech.document(result.to_json(), run_text(result))
    return 0 if result.status == "succeeded" else 1


def _inputs_in(project: Path) -> bool:
    """Whether a project's input files lie in its own folder, not beside it where the notebook was."""
    from nb2pipe.targets.base import read_map

    files = read_map(project)["pipeline"].get("input_files", [])
    return bool(files) and all((project / f).exists() for f in files)


def _assignments(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p takes NAME=VALUE, not {text!r}")
        found[name.strip()] = value
    return found


def _progress(speech: Speech) -> OnEvent:
    """Events of a run, each line with its step."""

    def show(event: Event) -> None:
        step = f"[{event.step}] " if event.step else ""
        if event.kind == "log":
            speech.say(f"{step}{event.text}")
        elif event.kind == "started":
            speech.say(f"{step}started")
        elif event.kind == "finished":
            speech.say(f"{step}{event.status} in {event.seconds or 0:.1f} s")
        else:
            speech.say(f"{step}{event.text}")

    return show


def run_text(result: RunResult) -> str:
    """The outcome of a run for people."""
    lines = [f"{step.name:<20} {step.status:<10} {step.seconds:6.1f} s" for step in result.steps]
    lines += [f"{name} = {value}" for name, value in result.metrics.items()]
    if result.error is not None:
        where = f" at cell {result.error.cell} line {result.error.line}" if result.error.cell is not None else ""
        lines.append(f"step {result.error.step} failed{where}: {result.error.message}")
    return "\n".join([*lines, f"{result.status} in {result.seconds:.1f} s; logs in {result.run_dir}"])


@cli.command()
@NOTEBOOK
@click.option("--trials", type=click.IntRange(min=1), help="How many trials (default: 20, or what the settings say).")
@click.option("--parallel", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at a time.")
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Fix a parameter for all trials.")
@click.option("--new", "anew", is_flag=True, help="Begin anew instead of going on with the study that was left.")
@click.option("--no-prune", is_flag=True, help="Let bad trials train to their end.")
@common
def tune(
    speech: Speech,
    notebook: Path,
    trials: int | None,
    parallel: int,
    given: tuple[str, ...],
    anew: bool,
    no_prune: bool,
) -> int:
    """Tune the parameters that have a search space, on this machine."""
    conversion = _load(notebook)
    speech.findings([f for f in conversion.findings if f.severity != "error"], _sources(conversion))
    tuned = conversion.tune(
        _assignments(given),
        trials=trials,
        parallel=parallel,
        anew=anew,
        prune=not no_prune,
        on_trial=lambda trial: speech.say(trial_text(trial)),
        on_event=_notes(speech),
    )
    speech.document(tuned.to_json(), tune_text(tuned, notebook))
    return 0 if tuned.best else 1


def _notes(speech: Speech) -> OnEvent:
    """Only what the user should know: the output of trials stays in their files."""

    def show(event: Event) -> None:
        if event.kind == "note" and speech.verbose:
            speech.say(f"[{event.step}] {event.text}" if event.step else event.text)

    return show


def trial_text(trial: Trial) -> str:
    """A row of the live table."""
    value = "" if trial.objective is None else f"{trial.objective:.6g}"
    chosen = "  ".join(f"{name}={_short(value)}" for name, value in trial.parameters.items())
    row = f"trial {trial.number:>3}  {trial.status:<9}  {value:>12}  {trial.seconds:6.1f} s  {chosen}"
    return f"{row}  {trial.message}".rstrip()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tune_text(tuned: Tuned, notebook: Path) -> str:
    """The outcome of a tuning for people, with the command that runs the pipeline with the best parameters."""
    runs = ", ".join(f"{step} {count}" for step, count in tuned.step_runs.items() if count)
    lines = [f"{len(tuned.trials)} trials to {tuned.direction} {tuned.objective}; runs of each step: {runs}"]
    if tuned.best is None:
        return "\n".join([*lines, f"no trial completed; see {tuned.folder}"])
    words = [shlex.quote(word) for word in tuned.best_words()]
    command = " ".join(["nb2pipe run", shlex.quote(str(notebook)), *(f"-p {word}" for word in words)])
    lines += [f"best: trial {tuned.best.number}, {tuned.objective} = {tuned.best.objective}"]
    lines += [f"plot: {path}" for path in tuned.plots]
    return "\n".join([*lines, f"run the pipeline with the best parameters: {command}"])


@cli.command()
@NOTEBOOK
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--vary", is_flag=True, help="Compare with other values of the parameters too.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, help="How many times the notebook runs.")
@click.option("--write-test", is_flag=True, help="Write the outcome as a test into the project, if they are equal.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The project for --write-test.")
@common
def verify(
    speech: Speech,
    notebook: Path,
    given: tuple[str, ...],
    vary: bool,
    repeat: int,
    write_test: bool,
    out: Path | None,
) -> int:
    """Run notebook and pipeline, compare them at every step boundary."""
    if write_test and given:
        raise click.UsageError("--write-test keeps what the defaults give: leave out -p")
    conversion = _load(notebook)
    speech.findings([f for f in conversion.findings if f.severity != "error"], _sources(conversion))
    project = (out or conversion.folder) if write_test else None
    found = conversion.verify(_assignments(given), vary=vary, repeat=repeat, test_in=project, on_note=speech.say)
    document = found.to_json()
    speech.document(document, verify_text(document))
    return 0 if found.verdict == "equal" else 1


def verify_text(document: dict[str, Any]) -> str:
    """The outcome of a verification for people."""
    rows = [*document["compared"], *document["stdout"]]
    width = max((len(f"{row['step']}.{row['name']}") for row in rows), default=0)
    lines = [f"{row['step']}.{row['name']}".ljust(width) + f"  {row['verdict']:<10}  {row['detail']}" for row in rows]
    lines += [f"with {_given_text(one['parameters'])}: {one['verdict']}" for one in document["varied"]]
    for row in document["workers"]:
        lines.append(
            f"{row['step']}.{row['name'] or 'run'} with {row['workers']} workers: {row['verdict']}  {row['detail']}"
        )
    first, error = document["first_difference"], document["error"]
    if first:
        lines.append(f"first difference: {first['name']} of step {first['step']}{_place(first)}: {first['detail']}")
    if error:
        lines.append(f"the {error['where']} failed{_place(error)}: {error['message']}")
    lines.append(f"{document['verdict']} in {document['seconds']:.1f} s")
    return "\n".join(line.rstrip() for line in lines)


def _given_text(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


def _place(row: dict[str, Any]) -> str:
    if row["cell"] is None:
        return ""
    return f" at cell {row['cell']}" + (f" line {row['line']}" if row["line"] else "")


@cli.command()
@click.argument("log", type=click.File(errors="replace"))
@click.option("--project", type=click.Path(path_type=Path), help="The project (default: those in this folder).")
@common
def explain(speech: Speech, log: TextIO, project: Path | None) -> int:
    """Show a traceback of a generated step in the notebook's cells and lines. LOG is a file, or - for stdin."""
    from nb2pipe.review.explain import explain, project_at, projects_near

    found = project_at(project) if project else None
    if project and found is None:
        raise click.UsageError(f"{project} is no generated project")
    explained = explain(log.read(), [found] if found else projects_near(Path.cwd()))
    if not explained.frames:
        speech.say("no line of a generated step is in this log; name its project with --project")
    document = {"frames": [frame.to_json() for frame in explained.frames], "text": explained.text}
    speech.document(document, explained.text)
    return 0


def main() -> None:
    """The entry point."""
    cli(prog_name="nb2pipe")
