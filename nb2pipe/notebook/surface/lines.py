"""The table of line magics. A new one is one row: what it becomes, or why it goes or cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from nb2pipe.findings import Finding
from nb2pipe.notebook.surface import pip
from nb2pipe.notebook.surface.model import Handler, Magic, Python, dropped, refused, translated
from nb2pipe.notebook.surface.shell import shell
from nb2pipe.notebook.surface.text import expression, interpolated

_KNOWN_EXTENSIONS = frozenset(
    "autoreload tensorboard google.cloud.bigquery bigquery_magics lab_black nb_black black jupyter_black watermark"
    " memory_profiler line_profiler cython Cython sql rpy2.ipython snakeviz wurlitzer nb2pipe jupyter_ai"
    " heat version_information google.colab.data_table ipyflow scalene vegafusion nb_mypy".split()
)


def _drop(why: str) -> Handler:
    return lambda magic: dropped(magic, why)


def _refuse(why: str, hint: str | None = None, code: str = "unknown-magic") -> Handler:
    return lambda magic: refused(magic, why, hint, code)


def _load_ext(magic: Magic) -> Python:
    python = dropped(magic, "extensions of IPython concern the notebook")
    if magic.text.strip() in _KNOWN_EXTENSIONS:
        return python
    message = f"`{magic.written}` was left out; whether that extension changes what the code does is not known."
    finding = magic.finding("magic-dropped", message, "Check that the code needs only plain Python.")
    return Python(python.why, findings=(_warning(finding),))


def _warning(finding: Finding) -> Finding:
    return replace(finding, severity="warning")


def _unwrapped(magic: Magic) -> Python:
    """`%time statement`: the statement itself, on its own lines."""
    first, *rest = magic.raw
    first = first.lstrip()
    while option := re.match(r"--(?:no-raise-error)\s+", first):
        first = first[option.end() :]
    if not first.strip() and not rest:
        return dropped(magic, "it times nothing")
    note = magic.finding("magic-dropped", f"`{magic.written.split()[0]}` was left out; its statement stays.")
    return Python(why=f"{magic.name} unwrapped", code="\n".join([first, *rest]), findings=(note,))


def _pylab(magic: Magic) -> Python:
    """`%pylab` binds modules, and with them everything that they have, unless told not to."""
    modules = "import numpy, numpy as np, matplotlib; from matplotlib import pylab, mlab, pyplot, pyplot as plt"
    everything = "" if "--no-import-all" in magic.text else "; from matplotlib.pylab import *; from numpy import *"
    return translated(magic, modules + everything)


def _env(magic: Magic) -> Python:
    """`%env K=V`, `%env K V`, `%set_env K V` set; `%env K` is the value; `%env` shows all."""
    text = magic.text.strip()
    key, separator, value = text.partition("=") if "=" in text else text.partition(" ")
    if not text:
        return translated(magic, "dict(os.environ)", "import os") if magic.target else dropped(magic, "it only shows")
    if not re.fullmatch(r"\w+", key.strip()):
        return refused(magic, "the variable's name cannot be read", "Write `os.environ[...] = ...`.")
    name = expression(interpolated(key.strip(), magic))
    if not separator:
        return translated(magic, f"os.environ[{name}]", "import os")
    return translated(magic, f"os.environ[{name}] = {expression(interpolated(value.strip(), magic))}", "import os")


def _cd(magic: Magic) -> Python:
    path = re.sub(r"^-q\s+|\s+-q$", "", magic.text.strip())
    if re.match(r"-[\d-]*$|-b|-q$", path):
        return refused(magic, "the folder is known only to IPython", "Write `os.chdir(...)`.")
    path = path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path
    place = expression(interpolated(path or "~", magic))
    if not path or path.startswith("~"):
        place = f"os.path.expanduser({place})"
    return translated(magic, f"os.chdir({place})", "import os")


def _pwd(magic: Magic) -> Python:
    return translated(magic, "os.getcwd()", "import os")


def _command(magic: Magic) -> Python:
    """`%mkdir x`, `%ls`: aliases of shell commands."""
    return shell(replace(magic, name="!", text=f"{magic.name} {magic.text}".strip()))


def _system(magic: Magic) -> Python:
    """`%sx cmd` and `%system cmd`: the list of the output's lines."""
    return shell(replace(magic, name="!!"))


def _rows(names: str, handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names.split(), handler)


LINE_MAGICS: Mapping[str, Handler] = {
    **_rows(
        "matplotlib config autoreload aimport reload_ext unload_ext precision xmode colors color pprint gui"
        " autosave automagic autocall autoawait doctest_mode page pinfo pdoc pdef psource pfile psearch who"
        " whos history pinfo2 hist magic lsmagic quickref tb debug pdb clear cls less more man edit recall rep"
        " logstart logstop logon logoff logstate save notebook nbagg connect_info qtconsole tensorboard"
        " watermark version_information bookmark dhist dirs black lab_black tensorflow_version pycat"
        " alias_magic pastebin help guiref skip_showtraceback code_wrap subshell verbose wandb nb2pipe",
        _drop("it concerns the notebook, not the result"),
    ),
    "load_ext": _load_ext,
    **_rows("time prun lprun mprun snakeviz scalene", _unwrapped),
    **_rows("timeit memit", _drop("it repeats its statement to measure it and defines nothing")),
    **_rows("env set_env", _env),
    "cd": _cd,
    "pwd": _pwd,
    **_rows("pip conda mamba micromamba uv", pip.line_pip),
    **_rows("ls ll lf lk lx ldir cat mkdir rmdir rm cp mv cat touch", _command),
    **_rows("sx system", _system),
    "pylab": _pylab,
    **_rows(
        "run runfile rerun macro load loadpy",
        _refuse("it runs code that is not in the notebook", "Import the code as a module.", "dynamic-code"),
    ),
    "store": _refuse("its store lies outside the pipeline", "Pass the value from step to step.", "hidden-file"),
    **_rows("reset reset_selective xdel", _refuse("it deletes the notebook's names", "Use `del NAME`.")),
    **_rows("sql bigquery bq", _refuse("its query runs through the notebook", "Use a client library in Python.")),
}
"""What becomes of `%NAME ...`. Options and text are read by the handler."""

AUTOMAGIC = frozenset(
    "pip conda mamba uv ls ll cd pwd cat mkdir rmdir rm cp mv matplotlib load_ext env timeit time".split()
)
"""Magics that are understood without the percent sign too, as IPython does where no variable has the name."""
