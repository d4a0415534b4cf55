"""What the effect tables say of generators, the environment, files and connections."""

from __future__ import annotations

import pytest

from nb2pipe.dataflow.flow import analyse
from nb2pipe.dataflow.model import Statement
from nb2pipe.notebook.model import Cell, Layout, Notebook, PyCell, StepTags
from nb2pipe.options import Options

IMPORTS = """\
import glob, hashlib, json, locale, os, pathlib, random, shutil, sqlite3, subprocess, sys, threading, time, warnings
import datetime as dt
import joblib
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import requests
import seaborn as sns
import tensorflow as tf
import torch
from google.cloud import bigquery
from pathlib import Path
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, train_test_split
"""


def _statement(code: str) -> Statement:
    """The analysis of the last of the statements."""
    cell = Cell(0, "c0", "code", IMPORTS + code)
    layout = Layout(("step",), (StepTags("one", (0,)),), {0: "one"})
    cells = [PyCell(cell, tuple(cell.source.split("\n")))]
    return analyse(Notebook("none.ipynb", (cell,), {}), layout, cells, (), Options()).statements[-1]


@pytest.mark.parametrize(
    ("code", "events"),
    [
        ("np.random.seed(0)", {"seed random:numpy"}),
        ("np.random.rand(3)", {"draw random:numpy"}),
        ("random.random()", {"draw random:random"}),
        ("torch.manual_seed(0)", {"seed random:torch"}),
        ("tf.random.set_seed(0)", {"seed random:tensorflow", "set seed:tensorflow"}),
        (
            "keras.utils.set_random_seed(0)",
            {f"seed random:{g}" for g in ("tensorflow", "numpy", "random")} | {"set seed:tensorflow"},
        ),
        ("np.random.default_rng(0).normal()", set()),
        ("random.Random(0).random()", set()),
        ("train_test_split([1, 2])", {"draw random:numpy"}),
        ("train_test_split([1, 2], random_state=None)", {"draw random:numpy"}),
        ("train_test_split([1, 2], random_state=0)", set()),
        ("RandomForestClassifier()", set()),  # it draws when it is fitted
        ("RandomForestClassifier(random_state=1)", set()),
        ("LogisticRegression()", set()),
        ("LogisticRegression(solver='saga')", set()),
        ("LogisticRegression(solver='saga').fit([[1], [2]], [1, 2])", {"draw random:numpy"}),
        ("KFold(5)", set()),
        ("KFold(5, shuffle=True)", set()),
        ("KFold(5, shuffle=True).split([1] * 5)", {"draw random:numpy"}),
        ("KFold(5, shuffle=True, random_state=0)", set()),
        ("model = RandomForestClassifier()\nmodel.fit([[1]], [1])", {"draw random:numpy"}),
        ("model = RandomForestClassifier(random_state=0)\nmodel.fit([[1]], [1])", set()),
        ("pd.Series([1]).sample(1)", {"draw random:numpy"}),
        ("pd.Series([1]).sample(1, random_state=0)", set()),
        ("os.environ.get('HOME')", {"use environment"}),
        ("os.environ.setdefault('A', 'b')", {"use environment", "set environment"}),
        ("os.chdir('x')", {"set working directory"}),
        ("sys.path.append('x')", {"set search path", "use search path"}),
        ("pd.set_option('display.width', 1)", {"set module:pandas"}),
        ("warnings.filterwarnings('ignore')", {"set module:warnings"}),
        ("plt.style.use('ggplot')", {"set module:matplotlib"}),
        ("sns.set_theme()", {"set module:matplotlib", "set module:seaborn"}),
        ("plt.plot([1])", {"use figure"}),
        ("time.time()", {"use clock"}),
        ("dt.datetime.now()", {"use clock", "use time zone"}),
        ("dt.datetime(2024, 1, 1)", set()),
        ("subprocess.run(['ls'])", {"set external"}),
        ("requests.get('u')", {"set external"}),
        ("bigquery.Client()", set()),
        ("bigquery.Client().query('SELECT 1')", {"set external", "use outside data"}),
    ],
)
def test_channels(code: str, events: set[str]) -> None:
    said = {f"{e.use} {e.channel}" for e in _statement(code).record.channels}
    assert {s for s in said if not s.startswith("use module:")} == events


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("pd.read_csv('d.csv')", {"read d.csv"}),
        ("pd.read_csv(filepath_or_buffer='d.csv', sep=';')", {"read d.csv"}),
        ("pd.DataFrame({'a': [1]}).to_csv('o.csv', index=False)", {"write o.csv"}),
        ("pd.DataFrame({'a': [1]}).to_csv()", set()),
        ("pd.DataFrame({'a': [1]}).to_parquet(path='o.parquet')", {"write o.parquet"}),
        ("np.save('a.npy', np.zeros(2))", {"write a.npy"}),
        ("np.load('a.npy')", {"read a.npy"}),
        ("joblib.dump([1], 'm.joblib')", {"write m.joblib"}),
        ("joblib.load('m.joblib')", {"read m.joblib"}),
        ("os.makedirs('out', exist_ok=True)", {"folder out"}),
        ("os.listdir('out')", {"read out"}),
        ("shutil.copy('a', 'b')", {"read a", "probe b", "write b"}),
        ("shutil.move(src='a', dst='b')", {"remove a", "probe b", "write b"}),
        ("os.rename('a', 'b')", {"remove a", "write b"}),
        ("Path('a.txt').read_text()", {"read a.txt"}),
        ("Path('a.txt').write_text('x')", {"write a.txt"}),
        ("(Path('out') / 'a.txt').exists()", {"probe out/a.txt"}),
        ("Path('out').mkdir()", {"write out"}),
        ("Path('out').mkdir(exist_ok=True)", {"folder out"}),
        ("Path('out').glob('*.csv')", {"read out/*.csv"}),
        ("os.listdir()", {"read ."}),
        ("os.remove('a')", {"remove a"}),
        ("np.save('a', 1)", {"write a.npy"}),
        ("np.save('a.npy', 1)", {"write a.npy"}),
        ("open('a-%d.txt' % n)", {"read a-{*}.txt"}),
        ("open('a-{}.txt'.format(n), 'a')", {"probe a-{*}.txt", "write a-{*}.txt"}),
        ("open('out/' + str(n), 'w')", {"write out/{*}"}),
        ("shutil.make_archive('a', 'zip', 'out')", {"read out", "write a.zip"}),
        ("Path('a.txt').open('w')", {"write a.txt"}),
        ("Path('a.txt').with_suffix('.md')", set()),
        ("plt.savefig('f.png')", {"write f.png"}),
        ("plt.figure().savefig('f.png')", {"write f.png"}),
        ("json.dumps({})", set()),
    ],
)
def test_files(code: str, files: set[str]) -> None:
    assert {f"{f.use} {f.path}" for f in _statement(code).record.files} == files


@pytest.mark.parametrize(
    ("code", "unstorable"),
    [
        ("sqlite3.connect(':memory:')", True),
        ("threading.Lock()", True),
        ("bigquery.Client()", True),
        ("hashlib.sha256()", True),
        ("Path('a').open()", True),
        ("hashlib.sha256().hexdigest()", False),
        ("RandomForestClassifier()", False),
        ("requests.get('u')", False),
    ],
)
def test_what_cannot_be_stored(code: str, unstorable: bool) -> None:
    findings = _two_steps(code)
    assert ("unpicklable" in findings) is unstorable


def _two_steps(code: str) -> list[str]:
    """The findings when one step makes a value and the next uses it."""
    cells = [Cell(0, "c0", "code", f"{IMPORTS}r = {code}"), Cell(1, "c1", "code", "print(r)")]
    layout = Layout(("step", "step"), (StepTags("a", (0,)), StepTags("b", (1,))), {0: "a", 1: "b"})
    lines = [PyCell(c, tuple(c.source.split("\n"))) for c in cells]
    return [f.code for f in analyse(Notebook("none.ipynb", tuple(cells), {}), layout, lines, (), Options()).findings]
