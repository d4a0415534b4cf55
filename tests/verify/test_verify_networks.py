"""The comparison of networks: of equal ones nothing differs, a small change anywhere does."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nb2pipe.verify.compare.engine import Comparison, heads

pytestmark = pytest.mark.filterwarnings("ignore")
X = (np.arange(32, dtype="float32") % 7).reshape(8, 4)


def verdict(a: Any, b: Any, **options: Any) -> str:
    return Comparison("project", **options)(a, b, "x").verdict


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    return pytest.importorskip("torch")


def trained(torch: ModuleType) -> dict[str, Any]:
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1)
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.tensor(X)).sum().backward()
        optimizer.step()
    return {"net": net, "optimizer": optimizer}


def add(value: Any, by: float) -> None:
    value.data.view(-1)[0] += by


TORCH: dict[str, Callable[[dict[str, Any]], object]] = {
    "a weight": lambda m: add(m["net"][0].weight, 1e-3),
    "a statistic": lambda m: add(m["net"][1].running_mean, 1e-3),
    "a gradient": lambda m: add(m["net"][0].weight.grad, 1e-3),
    "no gradient": lambda m: m["net"].zero_grad(),
    "frozen": lambda m: m["net"][0].weight.requires_grad_(False),
    "evaluation": lambda m: m["net"].eval(),
    "an attribute": lambda m: setattr(m["net"][2], "p", 0.4),
    "a hook": lambda m: m["net"][0].register_forward_hook(lambda *_: None),
    "the learning rate": lambda m: m["optimizer"].param_groups[0].update(lr=0.02),
    "the optimizer's state": lambda m: add(next(iter(m["optimizer"].state.values()))["exp_avg"], 1e-3),
}


@pytest.mark.parametrize("change", TORCH)
def test_torch(torch: ModuleType, change: str) -> None:
    before, after = trained(torch), trained(torch)
    data = heads([X, torch.tensor(X)])
    assert verdict(before, after, seen=data) == "equal"
    assert before["net"].training
    TORCH[change](after)
    assert verdict(before, after, seen=data) == "different"


@pytest.mark.parametrize(
    ("expected", "make", "change"),
    [
        ("equal", lambda t: t.ones(3), lambda t: t.clone()),
        ("close", lambda t: t.ones(3), lambda t: t + 1e-7),
        ("different", lambda t: t.ones(3), lambda t: t + 1e-3),
        ("different", lambda t: t.ones(3), lambda t: t.double()),
        ("different", lambda t: t.ones(3), lambda t: t.clone().requires_grad_()),
        ("different", lambda t: t.ones(3), lambda t: t.reshape(3, 1)),
        ("equal", lambda t: t.ones(3, dtype=t.bfloat16), lambda t: t.clone()),
        ("different", lambda t: t.ones(3, dtype=t.bfloat16), lambda t: t * 2),
        ("equal", lambda t: t.eye(3).to_sparse(), lambda t: t.clone()),
        ("different", lambda t: t.eye(3).to_sparse(), lambda t: t * 2),
        ("equal", lambda t: [t.ones(2), {"k": t.zeros(1)}], copy.deepcopy),
        ("different", lambda t: t.nn.Linear(2, 2).state_dict(), lambda d: {k: v + 1 for k, v in d.items()}),
    ],
)
def test_tensors(
    torch: ModuleType, expected: str, make: Callable[[ModuleType], Any], change: Callable[[Any], Any]
) -> None:
    value = make(torch)
    assert verdict(value, change(value)) == expected


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> ModuleType:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module: ModuleType = pytest.importorskip(request.param)
    return module


def network(keras: ModuleType) -> Any:
    keras.backend.clear_session()  # which begins to count names anew
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(1, name="second")]
    model = keras.Sequential(layers, name="same")
    model.compile(keras.optimizers.Adam(0.01, name="adam"), "mse")
    model.fit(X, X.sum(1), verbose=0, shuffle=False)
    return model


def shifted(model: Any) -> None:
    weights = [w.copy() for w in model.get_weights()]
    weights[0][0, 0] += 1e-3
    model.set_weights(weights)


def optimized(model: Any) -> None:
    weights = model.get_weights()
    model.fit(X, X.sum(1) * 0, verbose=0, shuffle=False)
    model.set_weights(weights)


KERAS: dict[str, Callable[[Any], object]] = {
    "a weight": shifted,
    "the optimizer's state": optimized,
    "the learning rate": lambda m: setattr(m.optimizer, "learning_rate", 0.5),
    "frozen": lambda m: setattr(m.layers[0], "trainable", False),
    "the loss": lambda m: m.compile(m.optimizer, "mae"),
}


def test_keras(keras: ModuleType) -> None:
    before = network(keras)
    same = network(keras)
    assert verdict(before, same, seen=heads([X])) == "equal"
    for change in KERAS.values():
        after = network(keras)
        change(after)
        assert verdict(before, after, seen=heads([X])) == "different", change


def test_parts_of_keras(keras: ModuleType) -> None:
    layers = network(keras).layers, network(keras).layers
    assert verdict(layers[0][0], layers[1][0]) == "equal"
    assert verdict(layers[0][0], layers[0][1]) == "different"
    words = [keras.layers.StringLookup(vocabulary=list(v), name="words") for v in ("ab", "ab", "ac")]
    assert verdict(words[0], words[1]) == "equal"
    assert verdict(words[0], words[2]) == "different"


def test_tensors_of_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = pytest.importorskip("tensorflow")
    for value in (tf.constant([1.0, 2.0]), tf.Variable([1.0, 2.0])):
        assert verdict(value, pickle.loads(pickle.dumps(value))) == "equal"
        assert verdict(value, type(value)(value + 1e-3) if hasattr(value, "assign") else value + 1e-3) == "different"
    assert verdict(tf.constant(["a"]), tf.constant(["b"])) == "different"
    assert verdict(tf.constant([1]), tf.constant([1], tf.int64)) == "different"


def test_figures_of_plotly() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    a, b, c = (graph_objects.Figure(graph_objects.Scatter(x=[1, 2], y=y)) for y in ([1, 2], [1, 2], [1, 3]))
    assert verdict(a, b) == "equal"
    assert verdict(a, c) == "different"
