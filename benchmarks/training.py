"""Measures what workers and trials cost and save: 2 local workers against 1, trials against re-running the notebook.

    python benchmarks/training.py [--trials N] [--json FILE]

All ratios come from one run on one machine. The notebooks are made here: one trains a network with PyTorch on synthetic
data, one prepares for a while, trains briefly, and is tuned. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NETWORK = """
# %% tags=["parameters"]
epochs = 6

# %% tags=["step:load"]
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
X = torch.randn(8192, 256)
y = (X.square().sum(1) > 256).long()

# %% tags=["step:train", "workers:2"]
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(X, y), batch_size=512, shuffle=True)
losses = []
for epoch in range(epochs):
    total = 0.0
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / len(loader))
print(losses)
"""

TUNED = """
# %% tags=["parameters"]
depth = 3  # tune: int(1, 8)
rate = 0.1  # tune: loguniform(1e-2, 1.0)

# %% tags=["step:load"]
import numpy as np
rng = np.random.default_rng(0)
raw = rng.normal(size=(2_000_000, 8))

# %% tags=["step:prepare"]
order = np.argsort(raw[:, 0] + np.tanh(raw).sum(axis=1) + np.sin(raw).sum(axis=1))
X = np.cbrt(raw[order])[::2000]
y = X[:, 0] * 2 - X[:, 1] ** 2

# %% tags=["step:train"]
from sklearn.ensemble import GradientBoostingRegressor
model = GradientBoostingRegressor(max_depth=depth, learning_rate=rate, n_estimators=60, random_state=0)
model.fit(X[:800], y[:800])

# %% tags=["step:evaluate", "objective:maximize:score"]
score = float(model.score(X[800:], y[800:]))
print(score)
"""


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes, on the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def written(folder: Path, name: str, text: str) -> Path:
    """A notebook in a folder of its own: nothing is taken from another one's cache."""
    path = folder / name / "notebook.py"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


def training(folder: Path, workers: int) -> float:
    """The seconds of the step `train` alone, with the given number of workers."""
    from nb2pipe import load

    text = NETWORK if workers > 1 else NETWORK.replace(', "workers:2"', "")
    result = load(written(folder, f"workers{workers}", text)).run(cache=False)
    assert result.status == "succeeded", result.error
    return next(step.seconds for step in result.steps if step.name == "train")


def tuning(folder: Path, trials: int, parallel: int) -> float:
    """The seconds of a whole tuning, what comes before the trials included."""
    from nb2pipe import load

    path = written(folder, f"parallel{parallel}", TUNED)
    return seconds(lambda: load(path).tune(trials=trials, parallel=parallel))


def rerunning(folder: Path, trials: int) -> float:
    """The seconds of running the whole notebook for each trial, each in a fresh kernel, as papermill does."""
    import jupytext
    import nbclient

    def run_all() -> None:
        for number in range(trials):
            notebook = jupytext.reads(TUNED.replace("depth = 3", f"depth = {1 + number % 8}"), fmt="py:percent")
            nbclient.NotebookClient(notebook, kernel_name="python3").execute(cwd=str(folder))

    return seconds(run_all)


def measured(trials: int) -> dict[str, float]:
    """All figures, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "train, 1 worker": training(folder, 1),
            "train, 2 workers": training(folder, 2),
            f"{trials} trials, 1 at a time": tuning(folder, trials, 1),
            f"{trials} trials, 2 at a time": tuning(folder, trials, 2),
            f"{trials} runs of the whole notebook": rerunning(folder, trials),
        }


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    figures = measured(words.trials)
    base = {"train": "train, 1 worker", str(words.trials): f"{words.trials} trials, 1 at a time"}
    for name, value in figures.items():
        to = base[name.split(",")[0].split(" ")[0]]
        print(f"{name:<36} {value:7.1f} s   {value / figures[to]:5.2f} x {to}")
    if words.json:
        words.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
