"""Keras and PyTorch models, where these are installed."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
X = np.linspace(0, 1, 64, dtype="float32").reshape(16, 4)
Y = X.sum(1)


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


def own_loss(truth: Any, guess: Any) -> Any:
    return abs(truth - guess)


def network(keras: ModuleType, loss: Any = "mse") -> Any:
    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    layers = [keras.Input((4,)), Own(), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", loss)
    return model


@pytest.mark.parametrize("loss", ["mse", own_loss])
def test_keras_training_goes_on_as_if_nothing_happened(
    artifacts: ModuleType, keras: ModuleType, tmp_path: Path, loss: Any
) -> None:
    model = network(keras, loss)
    history = model.fit(X, Y, verbose=0, shuffle=False)
    assert artifacts.save(tmp_path / "m", {"m": model}, kind="Model")["format"] == "keras"
    artifacts.save(tmp_path / "both", {"m": model, "h": history})
    alone, both = artifacts.load(tmp_path / "m")["m"], artifacts.load(tmp_path / "both")
    assert both["h"].model is both["m"]
    assert both["h"].history == history.history
    losses = [m.fit(X, Y, verbose=0, shuffle=False).history for m in (model, alone, both["m"])]
    assert losses[0] == losses[1] == losses[2]


def test_torch_module_and_tensors(artifacts: ModuleType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    x = torch.tensor(X)
    assert artifacts.save(tmp_path / "net", {"net": net})["format"] == "torch"
    assert torch.equal(artifacts.load(tmp_path / "net")["net"](x), net(x))
    optimizer = torch.optim.Adam(net.parameters())
    artifacts.save(tmp_path / "both", {"net": net, "optimizer": optimizer})
    both = artifacts.load(tmp_path / "both")
    assert both["optimizer"].param_groups[0]["params"][0] is next(both["net"].parameters())
    artifacts.save(tmp_path / "loss", {"loss": net(x).sum()})
    with pytest.raises(RuntimeError, match="does not require grad"):
        artifacts.load(tmp_path / "loss")["loss"].backward()
