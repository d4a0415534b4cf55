"""Findings: what nb2pipe has to say about a notebook, as data.

A finding is made with `finding(code, ...)`; its severity and its standing way out come from `CODES`, the one table of
everything that can be said. Layers return findings; only `commands/` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: how grave it is, what it means, and the way out that always holds."""

    severity: Severity
    meaning: str
    hint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about a place in a notebook.

    `cell` counts all cells from 0, `line` counts from 1 inside the cell; both are None for the notebook as a whole.
    """

    code: str
    severity: Severity
    cell: int | None
    line: int | None
    name: str | None
    message: str
    hint: str


class Nb2pipeError(Exception):
    """Base of every error that nb2pipe raises on purpose; `findings` says what, where, why and the way out."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f.message for f in self.findings))


class NotebookError(Nb2pipeError):
    """The file cannot be read as a notebook that nb2pipe converts."""


class Refused(Nb2pipeError):
    """The notebook was read, but no pipeline would equal it; at least one finding is an error."""


def finding(
    code: str,
    message: str,
    *,
    cell: int | None = None,
    line: int | None = None,
    name: str | None = None,
    hint: str | None = None,
    severity: Severity | None = None,
) -> Finding:
    """A finding of kind `code` (a key of `CODES`), with the table's severity and hint unless others are given."""
    kind = CODES[code]
    return Finding(code, severity or kind.severity, cell, line, name, message, hint or kind.hint)


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that forbid a conversion."""
    return tuple(f for f in findings if f.severity == "error")


CODES: dict[str, Code] = {
    # --- reading ------------------------------------------------------------------------------------------------
    "not-a-notebook": Code("error", "The file is not a Jupyter notebook.", "Open it in Jupyter and save it again."),
    "syntax-error": Code("error", "A code cell is not valid Python.", "Correct the cell, or tag it `skip`."),
    # --- reading a notebook -------------------------------------------------------------------------------------
    "unreadable-file": Code("error", "The file cannot be read.", "Check the path and its permissions."),
    "malformed-notebook": Code(
        "error", "The notebook breaks the notebook format.", "Open it in Jupyter and save it again."
    ),
    "unknown-nbformat": Code("error", "The notebook's format version is not known.", "Save it as nbformat 4."),
    "other-language": Code("error", "The notebook is not written in Python 3.", "Only Python 3 notebooks convert."),
    "unknown-syntax": Code("error", "A cell uses syntax that is not known here.", "Write it in an older way."),
    "too-deep": Code("error", "An expression is nested too deeply to be analysed.", "Split it into statements."),
    # --- tags, options, parameters ------------------------------------------------------------------------------
    "no-steps": Code(
        "error",
        "No cell is tagged as a step.",
        "Give the cells of each step the tag `step:NAME`; `nb2pipe tag` shows what is tagged.",
    ),
    "unknown-tag": Code("error", "A tag is almost one of nb2pipe's.", "Correct its spelling."),
    "bad-tag": Code("error", "A tag has a value that it cannot have.", "Write it as in the example."),
    "bad-step-name": Code(
        "error", "A step's name cannot be used.", "Use lower-case letters, digits and `_`, a letter first."
    ),
    "contradicting-tags": Code("error", "Two tags contradict each other.", "Keep one of them."),
    "tag-without-step": Code("error", "A tag needs a step, and the cell has none.", "Add a `step:NAME` tag."),
    "tag-on-text": Code("warning", "A tag on a text cell has no effect.", "Put the tag on a code cell."),
    "tag-not-carried": Code("warning", "A tag of another tool has no counterpart here.", "Nothing is set for it."),
    "cannot-suggest": Code(
        "error",
        "No tags make the notebook a pipeline.",
        "Correct what the other errors say, then ask for tags again.",
    ),
    "secret-in-code": Code(
        "error",
        "A key, a token or a password stands in a cell.",
        "Take it out, make it invalid, and tag the step `secret:NAME:KEY:ENV`: then `os.environ['ENV']` has it.",
    ),
    "run-order": Code(
        "note",
        "The cells were last run in another order than they stand in.",
        "Restart the kernel and run all cells, to see whether the notebook still does what it did.",
    ),
    "literal-in-code": Code(
        "note", "A literal deserves to be a parameter.", "Put it into a cell of its own, tagged `parameters`."
    ),
    "tuned-by-hand": Code(
        "note", "The notebook searches for hyperparameters itself.", "Let `nb2pipe tune` search: see the search spaces."
    ),
    "cannot-tag": Code("error", "Tags cannot be written into the file.", "Tag the cells in Jupyter."),
    "unknown-cell": Code(
        "error", "The notebook has no such cell.", "Give its number (from 0, text cells count) or id."
    ),
    "unknown-step": Code("error", "`after:` names a step that does not exist.", "Correct the name."),
    "step-cycle": Code("error", "Steps wait for each other in a circle.", "Remove one of the `after:` tags."),
    "unknown-option": Code("error", "A setting is not known.", "Correct its spelling or remove it."),
    "bad-option": Code("error", "A setting has a value of the wrong kind.", "Give a value of the right kind."),
    "bad-search": Code(
        "error",
        "A search space cannot be read.",
        "Write `# tune: loguniform(a, b)`, uniform(a, b), int(a, b), logint(a, b) or choice(a, b, ...).",
    ),
    "default-outside-search": Code(
        "warning", "A parameter's default lies outside its search space.", "Widen the space or change the default."
    ),
    "bad-objective": Code(
        "error",
        "An objective names no number that tuning could optimise.",
        "Put `objective:minimize:NAME` or `objective:maximize:NAME` on the one cell of a step that computes NAME.",
    ),
    "no-tuning": Code(
        "error",
        "There is nothing to tune.",
        "Write a search space beside a parameter and put an objective tag on the cell that computes what it improves.",
    ),
    "stray-search": Code(
        "warning", "A search space stands outside the `parameters` cells.", "Move the line into a `parameters` cell."
    ),
    "not-a-parameter": Code(
        "warning", "A literal of a `parameters` cell cannot be passed as JSON.", "Use numbers, strings, lists, dicts."
    ),
    "parameter-reassigned": Code(
        "error", "A parameter is read and then assigned again.", "Give the second value another name."
    ),
    # --- IPython ------------------------------------------------------------------------------------------------
    "magic-dropped": Code("note", "A magic that only concerns the notebook was left out.", "Nothing to do."),
    "magic-translated": Code("note", "A magic was written as Python.", "Nothing to do."),
    "unknown-magic": Code(
        "error", "A magic has no counterpart in plain Python.", "Write it in Python, or tag the cell `skip`."
    ),
    "magic-context": Code(
        "error",
        "Queries of a magic go by settings that a step does not have.",
        "Name project and table in the cell (`%%bigquery df --project P`), or query with `google.cloud.bigquery`.",
    ),
    "captured-output": Code(
        "error", "A magic stores output in a name.", "Compute the value in Python, or drop the name."
    ),
    "pip-option": Code(
        "warning", "A part of a pip command is not carried over.", "List it in `[tool.nb2pipe] requirements`."
    ),
    "system-package": Code("warning", "A command installs system packages.", "Put them in the image: `image:REF`."),
    "beam-interactive": Code("note", "A part of interactive Beam was left out.", "Nothing to do."),
    "shell-background": Code("error", "A shell command runs in the background.", "Run it in the foreground."),
    # --- dataflow -----------------------------------------------------------------------------------------------
    "undefined-name": Code(
        "error", "A step reads a name that no cell before it defines.", "Define the name in a cell before this one."
    ),
    "skipped-definition": Code(
        "error", "A skipped cell defines what a step needs.", "Remove the `skip` tag, or move the definition."
    ),
    "shared-computes": Code(
        "error", "A shared cell computes data.", "Give the cell a `step:NAME` tag, or move the computation into a step."
    ),
    "interleaved-steps": Code(
        "error", "The cells of two steps depend on each other both ways.", "Move the cells of a step together."
    ),
    "unknown-star-import": Code(
        "error", "A star import binds names that cannot be found out without running it.", "Import the names you use."
    ),
    "dynamic-code": Code("error", "Code is made at run time; what it reads and writes is unknown.", "Write it out."),
    "hidden-process-state": Code(
        "error", "A step changes state of the process that another step relies on.", "Set it in a `shared` cell."
    ),
    "hidden-file": Code(
        "error", "A file crosses steps in a way that cannot be followed.", "Write and read it in the same step."
    ),
    "file-times": Code(
        "warning",
        "A step asks when a file was changed that another step wrote.",
        "Runs on this machine keep it, storage of a platform may not: hand on the time, or sort by name.",
    ),
    "unpicklable": Code(
        "error", "A value that cannot be stored crosses steps.", "Create it in a `shared` cell or in each step."
    ),
    "own-pickling": Code(
        "warning",
        "A class of the notebook says itself what of its instances is stored.",
        "Make sure that `__getstate__` or `__reduce__` leaves nothing out that later steps need; `verify` compares.",
    ),
    "alias-across-steps": Code(
        "note", "Two names are one object across steps; they travel together.", "Copy one of them if you can."
    ),
    "shared-weights": Code(
        "error",
        "Keras models that share layers are handed on together, and neither is a part of the other.",
        "Hand on one and make the other from it: `keras.Model(model.input, model.get_layer(NAME).output)`.",
    ),
    "view-across-steps": Code(
        "error", "A view of another value's memory crosses steps and is changed there.", "Use `.copy()`."
    ),
    "ipython-history": Code("error", "`_`, `Out` and `In` exist only in a notebook.", "Assign the value to a name."),
    "ipython-api": Code("note", "A call of IPython's own API was handled.", "Use plain Python."),
    "display-handle": Code(
        "error", "A display is changed after it was shown: only a notebook can.", "Call `display(...)` anew instead."
    ),
    "seed-across-steps": Code(
        "error", "A seeded generator is drawn from in several steps.", "Set the seed in each step that draws."
    ),
    # --- requirements and writing -------------------------------------------------------------------------------
    "unknown-import": Code(
        "error", "No distribution is known for an imported module.", "Name it in [tool.nb2pipe.packages]."
    ),
    "unpinned-requirement": Code(
        "warning", "A package is not installed here, so its version is not known.", "Install it, or pin it yourself."
    ),
    "other-version": Code(
        "warning", "The notebook asks for another version than is installed.", "Install what the notebook asks for."
    ),
    "local-module": Code(
        "note", "A module beside the notebook is imported.", "Nothing to do; it goes into the project."
    ),
    "not-a-project": Code("error", "The output folder is not a generated project.", "Give another folder with -o."),
    "unsafe-path": Code("error", "A generated file would leave its folder.", "Rename it, or remove the link."),
    "cannot-write": Code("error", "The project cannot be written.", "Make room, or give another folder with -o."),
    "not-a-page": Code("error", "The file is no review page, and stays.", "Give another file with -o."),
    "cannot-serve": Code("error", "The live page cannot be served.", "Give another port, or none."),
    "merge-conflict": Code(
        "error",
        "Your edit and the new conversion changed the same lines.",
        "Settle the marked lines, convert again.",
    ),
    "edited-stale-file": Code(
        "warning", "An edited file is no longer generated.", "Delete it when you no longer need it."
    ),
    "edited-data-file": Code("warning", "A data file of the tests was edited.", "Delete it to have the new one."),
    "deleted-file-changed": Code("warning", "A deleted file was generated anew.", "Delete it again, or keep it."),
    "stale-project": Code("error", "The generated project is not up to date.", "Run `nb2pipe convert` again."),
    "missing-file": Code(
        "warning", "A step reads a file that is not there.", "Put the file beside the notebook, or check the path."
    ),
    "shared-show": Code("note", "A shared cell shows something.", "Move it into a step to see it in the step's log."),
    "shared-recomputed": Code(
        "warning", "A shared value is made anew in each step.", "Compute it in a step if it must be one value."
    ),
    # --- targets and runs ---------------------------------------------------------------------------------------
    "unknown-target": Code("error", "There is no such target.", "Name one of those that are installed."),
    "unknown-parameter": Code("error", "The pipeline has no such parameter.", "Use the parameter's name."),
    "parameter-type": Code("error", "A value is not of its parameter's type.", "Give a value of that type."),
    "parameter-bounds": Code(
        "error",
        "A value is outside of the bounds of its parameter.",
        "Give one within the bounds that the message names.",
    ),
    "missing-extra": Code("error", "A package that the command needs is not installed.", "Install the named extra."),
    "tuning-failed": Code("error", "Tuning could not begin.", "Correct the step that failed: `nb2pipe run` shows it."),
    "trials-share-files": Code(
        "error",
        "Trials of a tuning would write to one place at the same time.",
        "Write to a path relative to the notebook: each trial has a folder of its own. Or tune with `--parallel 1`.",
    ),
    "compile-failed": Code("error", "The pipeline cannot be compiled.", "Correct pipeline.py, or convert again."),
    "code-too-large": Code(
        "error", "A step's code is too large to travel inside the pipeline.", "Build an image and use --image REF."
    ),
    "not-distributed": Code(
        "warning", "A step is not yet spread over workers.", "Nothing to do; the result is the same."
    ),
    "workers-no-framework": Code(
        "error",
        "A step has workers, but nothing in it can be spread over them.",
        "Use Keras, PyTorch or XGBoost; for anything else take `workers:` away and ask for cores with `cpu:`.",
    ),
    "workers-unsound": Code(
        "error",
        "Training on many workers would not compute what one worker computes.",
        "Change the named line as the message says, or take the `workers:` tag away.",
    ),
    "workers-differ": Code(
        "warning",
        "Something in the training depends on how many workers there are.",
        "Nothing, if results that are equal only in the mean will do.",
    ),
    "beam-no-pipeline": Code(
        "error",
        "A step is to run on Dataflow, but builds no Beam pipeline.",
        "Put the tag on the step that calls `beam.Pipeline(...)`, or take it away.",
    ),
    "beam-runner": Code(
        "warning",
        "A runner that the notebook names gives way to the one of the run.",
        "With the tag `runner:dataflow` the compiled pipeline runs the step on Dataflow.",
    ),
    "beam-option": Code(
        "note",
        "An option of a Beam pipeline gives way to what the step itself sees to.",
        "Nothing to do.",
    ),
    "beam-collect": Code(
        "error",
        "A use of interactive Beam has no counterpart in a pipeline.",
        "Take the whole collection with `ib.collect(pcollection)`, or write it to files and read those.",
    ),
    "beam-worker-file": Code(
        "error",
        "A function that Dataflow's workers run uses a file that only the step has.",
        "Read the file in the step and hand over what is in it, or let a `ReadFrom...` transform read it.",
    ),
    "file-not-shared": Code(
        "error",
        "A file at an absolute path crosses steps, which may run on different machines.",
        "Use a path relative to the notebook, or a gs:// path.",
    ),
    "not-on-vertex": Code(
        "error",
        "A step asks for something that Vertex AI does not have.",
        "Take the tag away, ask for something else, or compile for another target.",
    ),
    "runs-each-time": Code(
        "note",
        "A step reads or writes data that may be other data tomorrow, so its results are not taken from a cache.",
        "Nothing to do; the tag `cache:on` lets results be reused all the same.",
    ),
    "dataset-stays": Code(
        "note",
        "Queries have a default dataset for which the pipeline gets no parameter.",
        "Name its tables without it everywhere, or take the dataset from a parameter of the notebook.",
    ),
    "pasted-into-sql": Code(
        "warning",
        "A text that a run may change is pasted into a query, where a quote in it changes what the query means.",
        "Write `@NAME` in the query and pass `QueryJobConfig(query_parameters=[ScalarQueryParameter(...)])`.",
    ),
    "class-text": Code(
        "warning",
        "The text of a class names its module: `__main__` in a notebook, another one in a pipeline.",
        "Print its `__name__` if the text should be the same.",
    ),
    "module-name": Code(
        "error",
        "Code depends on the module in which a function or class of the notebook is defined.",
        "Use `__name__` or `__qualname__`, which stay the same.",
    ),
    "late-binding": Code(
        "error",
        "A stored function or object reads a variable that changes later.",
        "Pass the variable as an argument, or keep the definition and its use in one step.",
    ),
    "class-identity": Code(
        "error",
        "A class would exist twice, and its instances cross steps.",
        "Let the class read constants and arguments only, so that it can be shared by all steps.",
    ),
    "unused-parameter": Code("warning", "No step uses a parameter.", "Remove it, or use it in a step."),
    "await-in-module": Code(
        "error", "A step must be a script, where `await` cannot stand.", "Use `asyncio.run(...)` in the notebook."
    ),
    "shared-changed": Code(
        "error",
        "A shared value or a parameter is changed while another value holds it.",
        "Make the value in a step, or hold a copy of it.",
    ),
    "numbered-name": Code(
        "error",
        "A name that Keras made by counting is used, and steps count each for itself.",
        'Give what it names a name of its own: `Dense(3, name="hidden")`, `AUC(name="auc")`.',
    ),
    "cache-across-steps": Code(
        "error",
        "A cached or traced function is called in several steps: each begins without its cache, and that shows.",
        "Call it in one step, or take the cache off it (of a traced one: what is not TensorFlow).",
    ),
    # --- submitting ---------------------------------------------------------------------------------------------
    "not-a-platform": Code(
        "error", "Pipelines cannot be submitted to the target.", "Use `nb2pipe run` on this machine, or --target kfp."
    ),
    "stale-pipeline": Code(
        "error", "The compiled pipeline is missing or not up to date.", "Run `nb2pipe convert` again."
    ),
    "missing-place": Code("error", "It is not said where to submit to.", "Give the named option."),
    "missing-input": Code("error", "An input file of the pipeline is not here.", "Put it beside the notebook."),
    "unknown-input": Code("error", "The pipeline reads no such file.", "Use the file's path in the notebook."),
    "bad-bucket": Code("error", "A URI names no bucket.", "Write it as gs://BUCKET/FOLDER."),
    "bad-schedule": Code("error", "A schedule cannot be read.", "Write it as cron does: `--schedule '0 6 * * *'`."),
    "bad-run-option": Code("error", "A run cannot have such a name or label.", "Give another one."),
    "not-for-target": Code("error", "An option means nothing to this target.", "Leave it out."),
    "beyond-limit": Code(
        "error", "The pipeline is larger than the platform takes.", "Make it thin: `nb2pipe build`, then --image REF."
    ),
    "upload-failed": Code("error", "Input files cannot be uploaded.", "Check the bucket and your login."),
    "not-logged-in": Code("error", "The platform does not know who asks.", "Log in as the message says."),
    "not-allowed": Code("error", "The platform does not allow it.", "Ask its administrator for the named role."),
    "not-there": Code("error", "What the request names does not exist.", "Check its name, and the place."),
    "request-refused": Code("error", "The platform refused a request.", "Correct what its message names."),
    "no-answer": Code("error", "The platform did not answer.", "Check its address and the network, then try again."),
    "not-ended": Code("error", "The run had not ended when waiting stopped.", "Look again with `nb2pipe runs show`."),
    "no-builder": Code("error", "There is nothing here that builds images.", "Install docker, podman or gcloud."),
    "build-failed": Code("error", "The image was not built.", "Correct what the builder said."),
    "not-locked": Code(
        "error",
        "There are no files with hashes for the requirements of the image.",
        "Correct requirements.txt, or the network and the index (UV_INDEX_URL), then build again.",
    ),
    "stale-lock": Code(
        "error", "requirements.lock is not of these requirements.", "Delete it: `nb2pipe build` makes it anew."
    ),
}
