"""PyTorch trainings on two workers: the same numbers as the notebook prints; what cannot be so is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import doors
import pytest
from torch_trainings import HEAD, REFUSED_WHEN_RUN, TRAININGS

from nb2pipe.convert import Conversion, load
from nb2pipe.targets.workers import free_ports

WORKER = Path(__file__).parents[1] / "support" / "torch_worker.py"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
SIZE = 2
TOLERANCE = 1e-5
"""How far apart numbers in float32 may be, relative to 1 or to themselves."""

ROUNDED = {"mixed_precision_compiled": 2e-2}
"""Trainings in bfloat16, whose numbers have three digits."""


def notebook(folder: Path, code: str, tags: str = '"step:train", "workers:2"') -> Conversion:
    path = folder / "notebook.py"
    path.write_text(f"# %% tags=[{tags}]\n{HEAD}{code}", encoding="utf-8")
    return load(path)


def rewritten(folder: Path, code: str) -> str:
    """The lines of the generated step that name torch_workers, without their indent."""
    step = next(s for s in notebook(folder, code).pipeline.steps if s.name == "train")
    lines = [line for part in (step.definitions, step.setup, step.body) for f in part for line in f.lines]
    return "\n".join(line.strip() for line in lines if "torch_workers" in line)


# --- the rewrite -----------------------------------------------------------------------------------------------------
LOOP = """
model = nn.Linear(6, 2)
opt = torch.optim.SGD(model.parameters(), 0.1)
loader = DataLoader(TensorDataset(X, y), 8)
"""

REWRITES = {
    "loop": (
        """
for xb, yb in loader:
    F.cross_entropy(model(xb), yb).backward()
""",
        """
for xb, yb in torch_workers.share(loader):
F.cross_entropy(torch_workers.replicated(model)(xb), yb).backward()
""",
    ),
    "wrapped loader, forward by name": (
        """
for i, (xb, yb) in enumerate(tqdm(loader, 'x')):
    l = F.mse_loss(model.forward(xb), yb); l.backward()
""",
        """
for i, (xb, yb) in enumerate(tqdm(torch_workers.share(loader), 'x')):
l = F.mse_loss(torch_workers.replicated(model).forward(xb), yb); l.backward()
""",
    ),
    "two loaders": (
        """
for (a, b), (c, d) in zip(loader, self.loaders[0]):
    (model(a) - model(c)).sum().backward()
""",
        """
for (a, b), (c, d) in zip(torch_workers.share(loader), torch_workers.share(self.loaders[0])):
(torch_workers.replicated(model)(a) - torch_workers.replicated(model)(c)).sum().backward()
""",
    ),
    "function": (
        """
def fit(net, batches):
    for xb, yb in batches:
        net(xb).sum().backward()
fit(model, loader)
""",
        """
for xb, yb in torch_workers.share(batches):
torch_workers.replicated(net)(xb).sum().backward()
""",
    ),
    "function called in the loop": (
        """
def loss_of(m, b):
    return m(b[0]).sum()
for b in loader:
    loss_of(model, b).backward()
""",
        """
return torch_workers.replicated(m)(b[0]).sum()
for b in torch_workers.share(loader):
""",
    ),
    "neither losses nor what takes no gradients": (
        """
for b in loader:
    criterion = nn.CrossEntropyLoss()
    loss = criterion(model(b[0]), b[1])
    loss.backward()
    with torch.no_grad():
        print(model(X).sum())
with torch.no_grad():
    model(X)
@torch.no_grad()
def score(m, val_loader):
    return sum(m(x) for x, _ in val_loader)
for epoch in range(2):
    model(X).sum().backward()
    score(model, loader)
    for x, _ in loader:
        with torch.no_grad():
            print(model(x))
""",
        """
for b in torch_workers.share(loader):
loss = criterion(torch_workers.replicated(model)(b[0]), b[1])
torch_workers.replicated(model)(X).sum().backward()
for x, _ in torch_workers.share(loader):
""",
    ),
    "no loop": (
        """
y = model(X).sum()
y.backward()
""",
        """
y = torch_workers.replicated(model)(X).sum()
""",
    ),
    "columns are bytes": (
        """
nets = {'a': nn.Linear(6, 2)}
for i in range(3):
    é = nets['a'](X) if i else model(
        X)
    é.sum().backward()
""",
        """
é = torch_workers.replicated(nets['a'])(X) if i else torch_workers.replicated(model)(
""",
    ),
}


@pytest.mark.parametrize(("code", "expected"), REWRITES.values(), ids=REWRITES)
def test_rewrite(code: str, expected: str, tmp_path: Path) -> None:
    assert rewritten(tmp_path, LOOP + code) == expected.strip()


def test_lines_stay_lines(tmp_path: Path) -> None:
    """With what was put in taken out again, the step has the notebook's lines; every changed one says why."""
    plain = notebook(tmp_path, TRAININGS["plain"], '"step:train"').pipeline.steps[0].body
    spread = notebook(tmp_path, TRAININGS["plain"]).pipeline.steps[0].body
    without = [re.sub(r"torch_workers\.(share|replicated)\((\w+)\)", r"\2", line) for f in spread for line in f.lines]
    assert without == [line for f in plain for line in f.lines]
    changed = [(f.lines[i], reason) for f in spread for i, reason in f.changes if "torch_workers" in f.lines[i]]
    assert [line.strip().split("(")[0] for line, _ in changed] == [
        "for xb, yb in torch_workers.share",
        "out = torch_workers.replicated",
    ]
    assert all("worker" in reason for _, reason in changed)


def test_without_workers_nothing_is_changed(tmp_path: Path) -> None:
    conversion = notebook(tmp_path, TRAININGS["plain"], '"step:train"')
    assert not any("workers" in path for path in conversion.project.files)
    assert not any("torch_workers" in text for text in conversion.project.files.values())


# --- what is refused -------------------------------------------------------------------------------------------------
FINDINGS = [
    ("from accelerate import Accelerator\na = Accelerator()\na.backward(model(X).sum())", "workers-unsound", "Accel"),
    ("import pytorch_lightning as pl\npl.Trainer().fit(model)", "workers-unsound", "Trainer"),
    ("from transformers import Trainer\nTrainer(model).train()", "workers-unsound", "Trainer"),
    (
        "import torch.distributed as dist\ndist.init_process_group('gloo')\nmodel(X).sum().backward()",
        "workers-unsound",
        "init_process_group",
    ),
    ("e = nn.Embedding(3, 4, sparse=True)\ne(y).sum().backward()", "workers-unsound", "sparse"),
    ("model.weight.register_hook(lambda g: g.clamp(-1, 1))\nmodel(X).sum().backward()", "workers-unsound", "clamp"),
    ("model.register_forward_hook(print)\nmodel(X).sum().backward()", "workers-unsound", "register_forward_hook"),
    ("from torch.func import grad\ngrad(print)(X)\nmodel(X).sum().backward()", "workers-unsound", "grad(print)"),
    (
        "import torchmetrics\nm = torchmetrics.Accuracy('binary')\nmodel(X).sum().backward()",
        "workers-unsound",
        "torchmetrics.A",
    ),
    (
        "import time as t\nend = t.time() + 9\nwhile 1:\n    model(X).sum().backward()\n    if t.time() > end: break",
        "workers-unsound",
        "if t.time",
    ),
    (
        "w = torch.zeros(6, requires_grad=True)\nfor i in range(3):\n    loss = (X @ w).sum()\n    loss.backward()",
        "workers-unsound",
        "loss.backward",
    ),
    ("rnn = nn.LSTM(6, 2, dropout=0.1)\nrnn(X)[0].sum().backward()", "workers-differ", "LSTM"),
    ("t = nn.TransformerEncoderLayer(6, 2)\nt(X).sum().backward()", "workers-differ", "Transformer"),
]
"""Code, the finding, and what its line holds."""

NO_FINDINGS = [
    "for b in loader:\n    model(b[0]).sum().backward()",
    "import torchmetrics\nm = torchmetrics.Accuracy('binary', sync_on_compute=False)\nmodel(X).sum().backward()",
    "import time\nt = time.time()\nmodel(X).sum().backward()\nif time.time() - t > 9:\n    print('slow')",
    "rnn = nn.LSTM(6, 2)\nrnn(X)[0].sum().backward()",
    "t = nn.TransformerEncoderLayer(6, 2, dropout=0.0)\nt(X).sum().backward()",
    "e = nn.Embedding(3, 4, sparse=False)\ne(y).sum().backward()",
    "slope, = torch.autograd.grad(model(X).sum(), X, create_graph=True)\nslope.sum().backward()",
]


def worker_findings(conversion: Conversion) -> list[Any]:
    return [f for f in conversion.findings if f.code.startswith("workers-")]


@pytest.mark.parametrize(("code", "kind", "line"), FINDINGS)
def test_finding(code: str, kind: str, line: str, tmp_path: Path) -> None:
    conversion = notebook(tmp_path, LOOP + code)
    found = [f for f in worker_findings(conversion) if f.code == kind]
    assert len(found) == 1
    assert found[0].cell == 0
    assert line in (HEAD + LOOP + code).splitlines()[found[0].line - 1]
    assert found[0].hint


@pytest.mark.parametrize("code", NO_FINDINGS)
def test_no_finding(code: str, tmp_path: Path) -> None:
    assert worker_findings(notebook(tmp_path, LOOP + code)) == []


@pytest.mark.parametrize("name", TRAININGS)
def test_no_false_alarm(name: str, tmp_path: Path) -> None:
    assert worker_findings(notebook(tmp_path, TRAININGS[name])) == []


# --- runs ------------------------------------------------------------------------------------------------------------
class Runs:
    """What each training printed: untouched, generated with one worker, and with each of two workers."""

    def __init__(self, folder: Path) -> None:
        self.projects, self.folder = folder / "projects", folder
        for name, code in {**TRAININGS, **REFUSED_WHEN_RUN}.items():
            home = folder / "notebooks" / name
            home.mkdir(parents=True)
            path = home / f"{name}.py"
            path.write_text(f'# %% tags=["step:train", "workers:2"]\n{HEAD}{code}', encoding="utf-8")
            for file, text in load(path).project.files.items():
                target = self.projects / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")

    def start(self, result: str, *place: object) -> subprocess.Popen[bytes]:
        env = {**doors.environment(), "OMP_NUM_THREADS": "1", "JOB_SEED": "5", "PYTHONHASHSEED": "0"}
        command = [sys.executable, WORKER, self.projects, self.folder / result, *place]
        return subprocess.Popen([*map(str, command)], env=env, cwd=self.folder)

    def result(self, name: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((self.folder / name).read_text("utf-8"))
        return found

    def run(self, *names_and_places: tuple[str, tuple[object, ...]]) -> list[dict[str, dict[str, str]]]:
        children = [self.start(name, *place) for name, place in names_and_places]
        try:
            assert [child.wait(timeout=240) for child in children] == [0] * len(children)
        finally:
            for child in children:
                child.kill()
        return [self.result(name) for name, _ in names_and_places]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    pytest.importorskip("torch")
    return Runs(tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def alone(runs: Runs) -> dict[str, dict[str, str]]:
    return runs.run(("alone", ()))[0]


@pytest.fixture(scope="module")
def together(runs: Runs) -> list[dict[str, dict[str, str]]]:
    ports = ",".join(map(str, free_ports(len(TRAININGS) + len(REFUSED_WHEN_RUN))))
    return runs.run(*((f"worker-{rank}", (ports, rank, SIZE)) for rank in range(SIZE)))


def numbers(text: str) -> Iterator[float]:
    return map(float, NUMBER.findall(text))


@pytest.mark.parametrize("name", TRAININGS)
def test_one_worker_is_the_notebook(name: str, alone: dict[str, dict[str, str]]) -> None:
    """Bit for bit."""
    assert alone[name]["error"] == ""
    assert alone[name]["printed"] == alone[name]["notebook"]
    assert alone[name]["printed"]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_workers_are_one(name: str, alone: dict[str, dict[str, str]], together: list[dict[str, Any]]) -> None:
    first, second = (worker[name] for worker in together)
    assert (first["error"], second["error"]) == ("", "")
    assert first["printed"] == second["printed"]
    expected = [*numbers(alone[name]["printed"])]
    tolerance = ROUNDED.get(name, TOLERANCE)
    assert [*numbers(first["printed"])] == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert first["divided"] == second["divided"] > 0, "no work was divided"


@pytest.mark.parametrize("name", REFUSED_WHEN_RUN)
def test_refused_when_run(name: str, alone: dict[str, dict[str, str]], together: list[dict[str, Any]]) -> None:
    """What only the values tell: one worker runs it, two workers stop before anything is trained, at the line."""
    assert alone[name]["error"] == ""
    for worker in together:
        assert "RuntimeError: " in worker[name]["error"]
        assert re.search(r"failed at cell 0 line \d+: .*(replicated|backward|grad)", worker[name]["error"])
        assert worker[name]["printed"] == ""
