"""Keras trainings on two workers: the rewrite, what is refused, and losses equal to those of one worker."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest
from keras_trainings import FAILS, HEAD, TRAININGS, TRAVELS

from nb2pipe.codegen.sourcemap import Emitter
from nb2pipe.codegen.write import write
from nb2pipe.convert import Conversion, load
from nb2pipe.pipeline.model import Fragment, Step
from nb2pipe.targets.base import RunResult, read_map
from nb2pipe.targets.local import Part, run
from nb2pipe.targets.warm import Warm
from nb2pipe.targets.workers import THREADS

needs_keras = pytest.mark.skipif(
    not (find_spec("tensorflow") and find_spec("tf_keras")), reason="TensorFlow and tf_keras are not installed"
)
TOLERANCE = 2e-5
"""How far apart numbers in float32 may be, relative to 1 or to themselves."""

ROUNDED = {"best": 2e-4}
"""Where batch normalisation, whose variance is a difference of squares on several workers, adds to that."""


def notebook(folder: Path, text: str) -> Conversion:
    path = folder / "keras_notebook.py"
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return load(path)


def step_of(folder: Path, code: str, workers: str = ', "workers:2"') -> Conversion:
    """A notebook whose cell 3 is `code`, after a cell that makes the names in it."""
    return notebook(folder, HEAD.replace("WORKERS", workers) + textwrap.dedent(code).strip("\n") + "\n")


def train_step(conversion: Conversion) -> Step:
    return next(s for s in conversion.pipeline.steps if s.name == "train")


def text_of(fragments: Iterable[Fragment]) -> str:
    """Fragments as they will stand in a file."""
    out = Emitter()
    for fragment in fragments:
        out.fragment(fragment, 0, len(fragment.lines), 0)
    return "\n".join(out.lines).strip("\n")


def body(folder: Path, code: str) -> str:
    return text_of(f for f in pieces(step_of(folder, code)) if f.cell == 3)


def pieces(conversion: Conversion) -> list[Fragment]:
    step = train_step(conversion)
    return [*conversion.pipeline.shared.definitions, *step.definitions, *step.body]


# --- the rewrite ----------------------------------------------------------------------------------------------------
REWRITES = {
    "neighbours share a block, a loop that only makes moves as a whole": (
        """
        model = tf.keras.Sequential([layers.Input((3,))])

        # hidden layers
        for n in (8, 4):
            model.add(layers.Dense(n))
        model.compile("adam", "mse")
        model.fit(X, y, epochs=2)
        """,
        """
        with keras_workers.scope():
            model = tf.keras.Sequential([layers.Input((3,))])

            # hidden layers
            for n in (8, 4):
                model.add(layers.Dense(n))
            model.compile("adam", "mse")
        keras_workers.spread(model).fit(X, y, epochs=2)
        """,
    ),
    "assignments that call nothing stay in the block, a call parts it": (
        """
        hidden = layers.Dense(4)
        sizes = {"a": 1,
                 "b": 2}  # what the data has
        out = layers.Dense(1)
        seen = list(sizes)
        model = tf.keras.Sequential([hidden, out])
        model.fit(X, y)
        """,
        """
        with keras_workers.scope():
            hidden = layers.Dense(4)
            sizes = {"a": 1,
                     "b": 2}  # what the data has
            out = layers.Dense(1)
        seen = list(sizes)
        with keras_workers.scope():
            model = tf.keras.Sequential([hidden, out])
        keras_workers.spread(model).fit(X, y)
        """,
    ),
    "a loop that also does other things": (
        """
        for rate in (0.1, 0.2):
            print(rate); model = tf.keras.Sequential([layers.Dense(1)])
            model.compile(tf.keras.optimizers.SGD(rate), "mse")
            history = model.fit(X, y)
        """,
        """
        for rate in (0.1, 0.2):
            with keras_workers.scope():
                print(rate); model = tf.keras.Sequential([layers.Dense(1)])
                model.compile(tf.keras.optimizers.SGD(rate), "mse")
            history = keras_workers.spread(model).fit(X, y)
        """,
    ),
    "branches, comprehensions, one-line blocks and one-line functions": (
        """
        def small(): return tf.keras.Sequential([layers.Dense(1)])
        large = lambda: tf.keras.Sequential([layers.Dense(9)])
        if deep: model = large()
        else:
            model = small()
        models = [small() for _ in range(2)]
        for m in [model, *models]:
            m.compile(loss="mse")
            m.fit(X, y)
        """,
        """
        def small(): return tf.keras.Sequential([layers.Dense(1)])
        large = lambda: tf.keras.Sequential([layers.Dense(9)])
        with keras_workers.scope():
            if deep: model = large()
            else:
                model = small()
            models = [small() for _ in range(2)]
        for m in [model, *models]:
            with keras_workers.scope():
                m.compile(loss="mse")
            keras_workers.spread(m).fit(X, y)
        """,
    ),
    "classes of the notebook are made in the scope, their methods stay": (
        """
        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(1)

            def call(self, x):
                return self.dense(x)

        net = Net()
        net.compile(loss="mse")
        net.fit(X, y)
        """,
        """
        class Net(tf.keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(1)

            def call(self, x):
                return self.dense(x)

        with keras_workers.scope():
            net = Net()
            net.compile(loss="mse")
        keras_workers.spread(net).fit(X, y)
        """,
    ),
    "a trainer of the notebook": (
        """
        class Trainer:
            def __init__(self, units):
                self.units = units
                self.model = tf.keras.Sequential([layers.Dense(units)])

            def run(self):
                self.model.compile(loss="mse")
                return self.model.fit(X, y)

        Trainer(4).run()
        """,
        """
        class Trainer:
            def __init__(self, units):
                self.units = units
                with keras_workers.scope():
                    self.model = tf.keras.Sequential([layers.Dense(units)])

            def run(self):
                with keras_workers.scope():
                    self.model.compile(loss="mse")
                return keras_workers.spread(self.model).fit(X, y)

        Trainer(4).run()
        """,
    ),
    "metrics by hand are the worker's own, compiled ones are not": (
        """
        k = tf.keras
        seen = k.metrics.Mean()
        auc = k.metrics.AUC()
        model.compile("sgd", "mse", metrics=[auc])
        model.fit(X, y)
        seen.update_state(model.predict(X))
        """,
        """
        k = tf.keras
        seen = k.metrics.Mean()
        with keras_workers.scope():
            auc = k.metrics.AUC()
            model.compile("sgd", "mse", metrics=[auc])
        keras_workers.spread(model).fit(X, y)
        seen.update_state(model.predict(X))
        """,
    ),
    "what is adapted, loaded and written": (
        """
        norm = layers.Normalization()
        norm.adapt(X)
        save = tf.keras.callbacks.ModelCheckpoint(f"{folder}/best.keras")
        log = tf.keras.callbacks.CSVLogger("log.csv")
        model.fit(X, y, callbacks=[save, log])
        model.load_weights("best.keras")
        model.save("/models/last")
        model.save_weights("weights.h5")
        other = tf.keras.models.load_model("/models/last")
        """,
        """
        with keras_workers.scope():
            norm = layers.Normalization()
            norm.adapt(X)
        save = tf.keras.callbacks.ModelCheckpoint(keras_workers.place(f"{folder}/best.keras"))
        log = tf.keras.callbacks.CSVLogger("log.csv")
        keras_workers.spread(model).fit(X, y, callbacks=[save, log])
        with keras_workers.scope():
            model.load_weights("best.keras")
        model.save(keras_workers.place("/models/last"))
        model.save_weights("weights.h5")
        with keras_workers.scope():
            other = tf.keras.models.load_model(keras_workers.written("/models/last"))
        """,
    ),
    "what other libraries fit and compile": (
        """
        scaler = StandardScaler()
        Z = scaler.fit(X).transform(X); knn = KNeighborsClassifier().fit(X, y)
        pattern = re.compile("a")
        tags = set()
        tags.add("b")
        model = tf.keras.Sequential([layers.Dense(1)])
        model.fit(Z, y)
        """,
        """
        scaler = StandardScaler()
        Z = scaler.fit(X).transform(X); knn = KNeighborsClassifier().fit(X, y)
        pattern = re.compile("a")
        tags = set()
        tags.add("b")
        with keras_workers.scope():
            model = tf.keras.Sequential([layers.Dense(1)])
        keras_workers.spread(model).fit(Z, y)
        """,
    ),
}


@pytest.mark.parametrize(("code", "expected"), REWRITES.values(), ids=list(REWRITES))
def test_rewrite(code: str, expected: str, tmp_path: Path) -> None:
    assert body(tmp_path, code) == textwrap.dedent(expected).strip()


def test_without_workers_nothing_changes(tmp_path: Path) -> None:
    alone = step_of(tmp_path, REWRITES["a loop that also does other things"][0], workers="")
    assert not any(f.added or f.moved or f.changes for f in pieces(alone))
    assert alone.pipeline.env == ()


@pytest.mark.parametrize("code", [code for code, _ in REWRITES.values()], ids=list(REWRITES))
def test_lines_of_the_notebook_stay_lines(code: str, tmp_path: Path) -> None:
    cell = textwrap.dedent(code).strip("\n").split("\n")
    for fragment in (f for f in pieces(step_of(tmp_path, code)) if f.cell == 3):
        changed = {index for index, _ in fragment.changes}
        for index, line in enumerate(fragment.lines):
            assert index in changed or line == cell[fragment.line - 1 + index]


SHARED = """
# %% tags=["shared"]
import tensorflow as tf
def build(units):
    model = tf.keras.Sequential([tf.keras.layers.Dense(units)])
    model.compile(loss="mse")
    return model
def train(model, X, y):
    return model.fit(X, y, verbose=0)

# %% tags=["step:load"]
X, y = [[1.0], [2.0]], [[1.0], [2.0]]
# %% tags=["step:train", "workers:2"]
model = build(4)
train(model, X, y)
# %% tags=["step:more", "workers:2"]
other = build(2)
train(other, X, y)
# %% tags=["step:evaluate"]
print(model.evaluate(X, y), other.evaluate(X, y))
"""


def test_functions_that_several_steps_use_are_rewritten_once(tmp_path: Path) -> None:
    text = text_of(notebook(tmp_path, SHARED).pipeline.shared.definitions)
    assert text.count("keras_workers.spread(model).fit(") == 1
    assert text.count("with keras_workers.scope():\n") == 1


def test_the_whole_pipeline_has_the_keras_that_workers_need(tmp_path: Path) -> None:
    pipeline = notebook(tmp_path, SHARED).pipeline
    needs = {s.name: [r.spec.partition("==")[0] for r in s.requirements] for s in pipeline.steps}
    assert {name for name, specs in needs.items() if "tf-keras" in specs} == {"train", "more", "evaluate"}
    assert pipeline.env == (("TF_USE_LEGACY_KERAS", "1"),)
    package = notebook(tmp_path, SHARED).project.files["keras_notebook/__init__.py"]
    assert 'os.environ["TF_USE_LEGACY_KERAS"] = "1"' in package


# --- what is said ---------------------------------------------------------------------------------------------------
FIT = "\nmodel.fit(X, y)"
LOSS = "def loss(a, b):\n    return {}\n"
COMPILED = "model.compile('sgd', loss)" + FIT
STOP = """
class Stop(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        {}
            self.model.stop_training = True
model.fit(X, y, callbacks=[Stop()])
"""
REFUSED = {
    "keras 3": ("import keras\nm = keras.Sequential()\nm.fit(X, y)", 2, "`from tensorflow import keras`"),
    "only in keras 3": ("x = tf.keras.ops.mean(X)" + FIT, 1, "only in Keras 3"),
    "own loop": (
        "with tf.GradientTape() as tape:\n    loss = model(X)\nopt.apply_gradients(zip(tape.gradient(loss, v), v))",
        3,
        "use `compile` and `fit`",
    ),
    "train_on_batch": ("for i in range(3):\n    model.train_on_batch(X, y)", 2, "use `fit`"),
    "own train_step": (
        "class N(tf.keras.Model):\n    def train_step(self, data):\n        return {}\nn = N()\nn.fit(X, y)",
        2,
        "N.train_step",
    ),
    "own strategy": ("s = tf.distribute.MirroredStrategy()" + FIT, 1, "strategy of its own"),
    "threads": ("tf.config.threading.set_intra_op_parallelism_threads(1)" + FIT, 1, "threads"),
    "xla": ("model.compile('sgd', 'mse', jit_compile=True)" + FIT, 1, "XLA"),
    "order of batches": ("ds = ds.map(f, deterministic=False)" + FIT, 1, "other batches"),
    "the clock": ("import time" + STOP.format("if time.time() > 9:"), 5, "by the clock"),
    "a loss that is no mean": (LOSS.format("tf.sqrt(tf.reduce_mean(a - b))") + COMPILED, 3, "no mean over the rows"),
    "data that each worker draws": ("rng = np.random.default_rng()\nX = rng.permutation(X)" + FIT, 1, "no seed"),
    "a class of losses that is no mean": (
        "class Own(tf.keras.losses.Loss):\n    def call(self, a, b):\n        return tf.sqrt(tf.reduce_mean(a - b))"
        "\nmodel.compile('sgd', Own())" + FIT,
        2,
        "Own.call is no mean",
    ),
    "a named lambda that is no mean": (
        "loss = lambda a, b: tf.sqrt(tf.reduce_mean(a - b))\nmodel.compile('sgd', loss)" + FIT,
        2,
        "no mean over the rows",
    ),
    "a loss that is a sum": ("model.compile('sgd', loss=lambda a, b: tf.reduce_sum(a - b))" + FIT, 1, "no mean"),
}


@pytest.mark.parametrize(("code", "line", "text"), REFUSED.values(), ids=list(REFUSED))
def test_refused(code: str, line: int, text: str, tmp_path: Path) -> None:
    found = [f for f in step_of(tmp_path, code).findings if f.code == "workers-unsound"]
    assert [(f.severity, f.cell, f.line) for f in found] == [("error", 3, line)]
    assert text in found[0].message


@pytest.mark.parametrize(("code", "line", "text"), REFUSED.values(), ids=list(REFUSED))
def test_not_refused_without_workers(code: str, line: int, text: str, tmp_path: Path) -> None:
    assert [f for f in step_of(tmp_path, code, workers="").findings if f.code.startswith("workers")] == []


ALLOWED = {
    "data that all workers draw": "rng = np.random.default_rng(7)\nX = np.random.permutation(rng.permutation(X))" + FIT,
    "a gradient that trains nothing": FIT + "\nwith tf.GradientTape() as t:\n    l = model(X)\ng = t.gradient(l, X)",
    "a loss that is a mean": LOSS.format("tf.reduce_mean(tf.square(a - b))") + COMPILED,
    "a loss for each row": LOSS.format("tf.reduce_mean(tf.square(a - b), axis=-1)") + COMPILED,
    "a class of losses that is a mean": "class Own(tf.keras.losses.Loss):\n    def call(self, a, b):\n"
    "        return tf.reduce_mean(tf.square(a - b))\nmodel.compile('sgd', Own())" + FIT,
    "a metric of the batch": LOSS.format("tf.sqrt(tf.reduce_mean(tf.square(a - b)))")
    + "model.compile('sgd', 'mse', metrics=[loss])"
    + FIT,
    "a callback that stops by the loss": STOP.format("if logs['loss'] < 1:"),
    "data of Keras 3": "import keras\nX = keras.utils.normalize(X)" + FIT,
    "memory growth": "for g in tf.config.list_physical_devices('GPU'):\n"
    "    tf.config.experimental.set_memory_growth(g, True)" + FIT,
    "batch normalisation": "model.add(layers.BatchNormalization())" + FIT,
}


@pytest.mark.parametrize("code", ALLOWED.values(), ids=list(ALLOWED))
def test_nothing_to_say(code: str, tmp_path: Path) -> None:
    assert [f.message for f in step_of(tmp_path, code).findings if f.code.startswith("workers")] == []


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("m = tf.keras.Sequential([\n    layers.Dropout(0.5),\n])\nm.fit(X, y)", 2),
        ("model.compile('sgd', tf.keras.losses.Huber(reduction='sum'))" + FIT, 1),
        ("m = tf.keras.Sequential([layers.GaussianNoise(0.1)])\nm.fit(X, y)", 1),
        ("m = tf.keras.Sequential([layers.LSTM(4, recurrent_dropout=0.1)])\nm.fit(X, y)", 1),
    ],
)
def test_depends_on_the_number_of_workers(code: str, line: int, tmp_path: Path) -> None:
    found = [f for f in step_of(tmp_path, code).findings if f.code.startswith("workers")]
    assert [(f.code, f.severity, f.line) for f in found] == [("workers-differ", "warning", line)]


def test_another_keras_than_that_of_the_workers(tmp_path: Path) -> None:
    found = notebook(tmp_path, SHARED).findings
    assert [(f.code, f.severity, f.cell, f.line) for f in found] == [("workers-differ", "warning", 0, 3)]
    asking = SHARED.replace(
        "import tensorflow as tf", 'import os; os.environ["TF_USE_LEGACY_KERAS"] = "1"\nimport tensorflow as tf', 1
    )
    assert notebook(tmp_path, asking).findings == ()


# --- real workers ---------------------------------------------------------------------------------------------------
def finished(folder: Path, text: str, workers: int) -> RunResult:
    project = folder / "project"
    write(notebook(folder, text).project, project, overwrite=True)
    return run(project, {}, cache=False, notebook_dir=folder, runs_dir=folder / f"runs{workers}", workers=workers)


def ran_alone_and_by_two(folder: Path, text: str) -> list[dict[str, str]]:
    """What each step prints with one worker and with two; each process is a fork of one that has imported."""
    project = folder / "project"
    write(notebook(folder, text).project, project, overwrite=True)
    steps = read_map(project)["pipeline"]["steps"]
    texts = []
    with Warm(project, steps) as warm:
        part = Part(frozenset(step["name"] for step in steps), env=dict.fromkeys(THREADS, "1"), start=warm.start)
        for workers in (1, 2):
            runs = folder / f"runs{workers}"
            result = run(project, {}, part=part, cache=False, notebook_dir=folder, runs_dir=runs, workers=workers)
            assert result.status == "succeeded", result.error
            texts.append(printed(result))
    return texts


def printed(result: RunResult) -> dict[str, str]:
    """What each step printed."""
    return {step.name: step.stdout.read_text() for step in result.steps}


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.sub(r"[\[\],]", " ", text).split()[1:]]


@needs_keras
@pytest.mark.parametrize("text", [TRAININGS, TRAVELS], ids=["trainings", "models that travel"])
def test_two_workers_train_what_one_trains(text: str, tmp_path: Path) -> None:
    one, two = ran_alone_and_by_two(tmp_path, text)
    assert one.keys() == two.keys()
    for step, text_of_one in one.items():
        for mine, other in zip(text_of_one.splitlines(), two[step].splitlines(), strict=True):
            name = mine.split(" ")[0]
            tolerance = ROUNDED.get(name, TOLERANCE)
            assert other.split(" ")[0] == name
            assert numbers(other) == pytest.approx(numbers(mine), rel=tolerance, abs=tolerance), name


HIDDEN = """
# %% tags=["step:train", "workers:2"]
import tensorflow as tf
def size(x):
    return tf.sqrt(tf.reduce_mean(tf.square(x)))
def loss(y, p):
    return size(y - p)
model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))])
model.compile(loss=loss)
model.fit(tf.range(8.0), tf.range(8.0) ** 2, batch_size=8, verbose=0)
"""


@needs_keras
def test_a_loss_that_is_found_to_be_no_mean_is_an_error_of_its_line(tmp_path: Path) -> None:
    result = finished(tmp_path, HIDDEN, 2)
    assert result.error is not None
    assert (result.error.step, result.error.cell, result.error.line) == ("train", 0, 8)
    assert "no mean over the rows" in result.error.message


@needs_keras
def test_a_batch_that_leaves_a_worker_without_rows_is_an_error_of_its_line(tmp_path: Path) -> None:
    result = finished(tmp_path, FAILS, 2)
    assert result.error is not None
    assert (result.error.step, result.error.cell, result.error.line) == ("train", 0, 4)
    assert "fewer rows than there are workers" in result.error.message
