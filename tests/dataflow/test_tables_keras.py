"""The rows for TensorFlow and Keras against them: calls are run, and what they change, draw and write is measured."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measured
import pytest

if find_spec("tensorflow") is None:
    pytest.skip("tensorflow is not installed", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", minversion="3")
    tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.filterwarnings("ignore")

SETUP = """\
import numpy as np
import tensorflow as tf
from tensorflow import keras
keras.utils.set_random_seed(0)
x = np.ones((8, 3), dtype="float32")
y = np.ones(8, dtype="float32")
layer = keras.layers.Dense(2)
other = keras.layers.Dense(1)
lookup = keras.layers.StringLookup()
words = ["a", "b"]
norm = keras.layers.Normalization()
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
model.compile("sgd", "mse")
entry = keras.Input((3,))
metric = keras.metrics.MeanSquaredError()
loss = keras.losses.MeanSquaredError()
optimizer = keras.optimizers.SGD(0.1)
var = tf.Variable([1.0, 2.0])
const = tf.constant([1.0, 2.0])
data = tf.data.Dataset.range(4)
"""

EFFECTS = """
| random | keras.layers.Dense(2)
| random | keras.layers.Conv2D(2, 3)
| random | keras.layers.Embedding(4, 2)
| random | keras.layers.LSTM(2)
| random | keras.layers.Dropout(0.5)
| random | keras.layers.RandomFlip()
| random | keras.initializers.GlorotUniform()
| random | keras.models.clone_model(model)
| random | keras.random.normal((2,))
|| keras.initializers.Zeros()
|| keras.layers.Flatten()
|| keras.layers.BatchNormalization()
|| keras.layers.MaxPooling2D()
|| keras.layers.Rescaling(2.0)
|| keras.layers.Softmax()
|| keras.layers.Concatenate()
|| keras.layers.StringLookup(vocabulary=words)
|| keras.layers.Normalization()
|| keras.Input((3,))
|| keras.Sequential([model, keras.layers.Softmax()])
|| keras.optimizers.Adam(0.1)
|| keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
|| keras.callbacks.EarlyStopping(patience=2)
|| keras.utils.to_categorical([0, 1])
|| keras.activations.relu(const)
|| keras.ops.sum(const)
|| model.evaluate(x, y, verbose=0)
|| model.predict(x, verbose=0)
|| model.get_weights()
|| model.count_params()
|| model.summary(print_fn=str)
|| model.to_json()
|| loss(y, y)
|| tf.reduce_mean(const)
|| tf.nn.softmax(const)
|| const + 1
|| const.numpy()
|| var.numpy()
|| tf.random.stateless_normal((2,), seed=(1, 2))
|| tf.random.uniform((2,), seed=1)
|| tf.image.resize(tf.zeros((2, 2, 3)), (4, 4))
|| data.map(lambda v: v + 1).batch(2)
|| data.shuffle(4, seed=1)
| tensorflow | tf.random.normal((2,))
| tensorflow | tf.random.uniform((2,))
| tensorflow | tf.random.shuffle(const)
| tensorflow | tf.nn.dropout(const, 0.5)
| tensorflow | tf.image.random_flip_left_right(tf.zeros((2, 2, 3)))
| tensorflow | data.shuffle(4)
model || model.fit(x, y, epochs=1, verbose=0)
model || model.fit(x, y, epochs=1, verbose=0, shuffle=False)
model || model.train_on_batch(x, y)
model || model.set_weights([w * 0 for w in model.get_weights()])
model || model.compile("adam", "mae")
model || model(x, training=True)
layer || layer(x)
norm || norm.adapt(x)
lookup || lookup.adapt(words)
metric || metric.update_state(y, y)
metric || metric(y, y)
var || var.assign([0.0, 0.0])
var || var.assign_add([1.0, 1.0])
optimizer,var | | optimizer.apply_gradients([(const, var)])
|| model.save("m.keras")
|| model.save_weights("m.weights.h5")
"""


def _digest(value: Any) -> bytes:
    """Weights, optimizer, seeds and settings of what Keras makes; arrays and variables."""
    import numpy as np

    if isinstance(value, keras.Model):
        optimizer = getattr(value, "optimizer", None)
        kept = [*value.variables, *(optimizer.variables if optimizer is not None else [])]
        passing = set(map(id, value.metrics_variables))
        kept = [v for v in kept if id(v) not in passing]
        return b"".join(map(_digest, kept)) + repr(value.get_compile_config()).encode()
    if isinstance(value, (keras.Layer, keras.Metric)):
        vocabulary = value.get_vocabulary() if hasattr(value, "get_vocabulary") else ""
        numbers = [v for v in value.variables if "resource" not in str(v.dtype)]
        return b"".join(map(_digest, numbers)) + repr(vocabulary).encode() + str(getattr(value, "built", "")).encode()
    if isinstance(value, keras.optimizers.Optimizer):
        return b"".join(map(_digest, value.variables))
    if isinstance(value, (np.ndarray, tf.Variable, tf.Tensor, keras.Variable)):
        return bytes(np.asarray(value).tobytes())
    return repr(value).encode() if isinstance(value, list) else b""


def _tensorflow_state() -> Any:
    from tensorflow.python.eager import context

    return context.context()._rng.getstate()


LIBRARY = measured.Library(SETUP, _digest, {"tensorflow": _tensorflow_state})


@pytest.mark.parametrize(("names", "drawn", "expression"), measured.rows(EFFECTS), ids=lambda v: str(v)[:60])
def test_effects(names: frozenset[str], drawn: frozenset[str], expression: str, tmp_path: Path) -> None:
    names = frozenset(",".join(names).split(",")) - {""}
    seen, _ = LIBRARY.measured(expression, tmp_path)
    said, _, _ = LIBRARY.said(expression)
    assert seen.drawn == drawn
    assert said.drawn == drawn
    assert seen.changed <= said.changed == names
    assert said.written == seen.written


def test_training_depends_on_the_seed_alone() -> None:
    """Shuffling in `fit` follows from the seed that TensorFlow was given, not from what was drawn since."""
    assert _losses(0) == _losses(3)


def _losses(draws: int) -> Any:
    import numpy as np

    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    for _ in range(draws):
        tf.random.normal((2,))
    return model.fit(x, x.sum(axis=1), epochs=2, batch_size=4, verbose=0).history["loss"]


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("model", "model.layers[0]"),
        ("model", "model.weights"),
        ("model", "model.fit(x, y, verbose=0).model"),
        ("model", "keras.Sequential([model, keras.layers.Softmax()])"),
        ("model", "keras.Model(model.inputs, model.layers[0].output)"),
        ("layer", "keras.Sequential([layer])"),
        ("layer", "layer(entry)"),
        ("entry", "keras.Model(entry, other(layer(entry)))"),
    ],
)
def test_sharing(name: str, expression: str) -> None:
    assert name in LIBRARY.said(expression)[1]


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("model", "model.predict(x, verbose=0)"),
        ("model", "model.get_weights()"),
        ("x", "model.fit(x, y, verbose=0)"),
        ("x", "model.predict(x, verbose=0)"),
        ("words", "keras.layers.StringLookup(vocabulary=words)"),
        ("const", "const + 1"),
    ],
)
def test_apart(name: str, expression: str) -> None:
    assert name not in LIBRARY.said(expression)[1]
