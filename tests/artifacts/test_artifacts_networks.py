"""Keras and PyTorch models, where these are installed."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


def test_torch_keeps_gradients(artifacts: ModuleType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.tensor(X)).sum().backward()
    assert artifacts.save(tmp_path / "net", {"net": net})["format"] == "torch"
    artifacts.save(tmp_path / "both", {"net": net, "optimizer": optimizer})
    alone, both = artifacts.load(tmp_path / "net")["net"], artifacts.load(tmp_path / "both")
    assert torch.equal(alone.weight.grad, net.weight.grad)
    optimizer.step()
    both["optimizer"].step()
    assert torch.equal(both["net"].weight, net.weight)
    assert not torch.equal(alone.weight, net.weight)
    assert torch.load(tmp_path / "net" / "value.pt", weights_only=False).weight.grad is None


def test_a_gradient_cannot_flow_into_another_step(artifacts: ModuleType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(4, 1)
    loss = net(torch.tensor(X)).mean()
    for number, values in enumerate(({"loss": loss}, {"net": net, "loss": loss})):
        artifacts.save(tmp_path / str(number), values)
        loaded = artifacts.load(tmp_path / str(number))["loss"]
        assert (repr(loaded), loaded.item(), loaded.requires_grad) == (repr(loss), loss.item(), True)
        with pytest.raises(RuntimeError, match="grad_fn=MeanBackward0 was computed in another step"):
            (loaded * 2).backward()
    artifacts.save(tmp_path / "plain", {"loss": loss.detach()})
    assert not artifacts.load(tmp_path / "plain")["loss"].requires_grad


def subclassed(keras: ModuleType) -> Any:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = keras.layers.Dense(3), keras.layers.Dense(1)
            self.scale = 1.0

        def call(self, x: Any) -> Any:
            return self.last(self.first(x)) * self.scale

    model = Own()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0, shuffle=False)
    return model


def test_a_model_that_goes_on_training_frozen_layers_trains_no_further(
    artifacts: ModuleType, keras: ModuleType, tmp_path: Path
) -> None:
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0, shuffle=False)
    artifacts.save(tmp_path / "frozen first", {"m": model})
    artifacts.load(tmp_path / "frozen first")["m"].fit(X, Y, verbose=0, shuffle=False)
    model.layers[0].trainable = True
    artifacts.save(tmp_path / "m", {"m": model})
    artifacts.save(tmp_path / "again", artifacts.load(tmp_path / "m"))
    loaded = artifacts.load(tmp_path / "again")["m"]
    assert (loaded.predict(X, verbose=0) == model.predict(X, verbose=0)).all()
    with pytest.raises(artifacts.ArtifactError, match="call `compile` after"):
        loaded.fit(X, Y, verbose=0)
    loaded.compile("sgd", "mse")
    loaded.fit(X, Y, verbose=0)


@pytest.mark.parametrize("fitted", [True, False])
def test_keras_2_goes_on_training_what_it_was_compiled_with(
    artifacts: ModuleType, tmp_path: Path, *, fitted: bool
) -> None:
    keras = pytest.importorskip("tf_keras")
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    if fitted:
        model.fit(X, Y, verbose=0, shuffle=False)
    model.layers[0].trainable = False
    artifacts.save(tmp_path / "m", {"m": model})
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert len(loaded.trainable_weights) == 2
    for one in (model, loaded):
        one.fit(X, Y, verbose=0, shuffle=False)
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_keras_counts_on_after_loading(artifacts: ModuleType, keras: ModuleType, tmp_path: Path, name: str) -> None:
    library = pytest.importorskip(name)
    model = library.Sequential([library.layers.Dense(1, input_shape=(4,))])
    artifacts.save(tmp_path / "m", {"m": model})
    next_one = library.layers.Dense(1).name
    library.backend.clear_session()
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert loaded.layers[0].name == model.layers[0].name
    assert library.layers.Dense(1).name == next_one


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_own_keras_classes_come_back(artifacts: ModuleType, keras: ModuleType, tmp_path: Path, name: str) -> None:
    model = subclassed(pytest.importorskip(name))
    model.scale = 0.5
    model.first.trainable = False
    model.optimizer.learning_rate = 0.25
    assert artifacts.save(tmp_path / "m", {"m": model})["format"] == "keras"
    loaded = artifacts.load(tmp_path / "m")["m"]
    assert (loaded.scale, loaded.first.trainable, loaded.last.trainable) == (0.5, False, True)
    assert float(np.asarray(loaded.optimizer.learning_rate)) == 0.25
    assert (loaded.predict(X, verbose=0) == model.predict(X, verbose=0)).all()
    assert "from_config" not in vars(type(model))


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_shared_weights_of_keras_are_refused(
    artifacts: ModuleType, keras: ModuleType, tmp_path: Path, name: str
) -> None:
    library = pytest.importorskip(name)
    given = library.Input((4,))
    code = library.layers.Dense(2)(given)
    whole, encoder = library.Model(given, library.layers.Dense(4)(code)), library.Model(given, code)
    for values in ({"whole": whole, "encoder": encoder}, {"both": [whole, encoder]}):
        with pytest.raises(artifacts.ArtifactError, match="share weights, which cannot be stored together"):
            artifacts.save(tmp_path / "m", values)
    other = library.Model(given, library.layers.Dense(1)(given))
    artifacts.save(tmp_path / "m", {"whole": whole, "again": whole, "other": other})
    loaded = artifacts.load(tmp_path / "m")
    assert loaded["whole"] is loaded["again"]
    assert loaded["whole"] is not loaded["other"]


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_parts_of_a_keras_model_stay_parts(artifacts: ModuleType, keras: ModuleType, tmp_path: Path, name: str) -> None:
    library = pytest.importorskip(name)
    inner = library.Sequential([library.Input((4,)), library.layers.Dense(2)])
    model = library.Sequential([inner, library.layers.Dense(1)])
    optimizer = library.optimizers.SGD(0.1)
    model.compile(optimizer, "mse")
    model.fit(X, Y, verbose=0)
    holder = SimpleNamespace(layers=[model.layers[1]], model=model)
    artifacts.save(tmp_path / "m", {"first": inner, "holder": holder, "model": model, "optimizer": optimizer})
    loaded = artifacts.load(tmp_path / "m")
    again = loaded["model"]
    assert loaded["holder"].model is again
    assert loaded["optimizer"] is again.optimizer
    assert loaded["first"] is again.layers[0]
    assert loaded["holder"].layers == [again.layers[1]]
    assert (again.predict(X, verbose=0) == model.predict(X, verbose=0)).all()
    inner.compile("sgd", "mse")
    with pytest.raises(artifacts.ArtifactError, match="share weights"):
        artifacts.save(tmp_path / "m", {"first": inner, "model": model})
