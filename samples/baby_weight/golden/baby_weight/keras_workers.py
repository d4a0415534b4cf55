"""Spreads the training of Keras models over the workers of a step of baby_weight.

Every worker runs the same code on the same data. Models that are built in `scope()` are the same on
all of them; of each batch a worker computes its rows, and the gradients are summed, so that one
step of the optimizer is one step on the whole batch, whatever the number of workers. A process
that is alone does what the notebook does: all of this leaves it as it is.

The workers are those of TF_CONFIG. Keras 3 cannot train on them, its predecessor tf_keras can:
TF_USE_LEGACY_KERAS in baby_weight/__init__.py puts that behind `tensorflow.keras`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from baby_weight import cluster

_JOINED: dict[str, Any] = {}  # the strategy and the scratch folder, while in `group()`


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Joins the other workers; must be entered before TensorFlow computes anything.

    All workers draw the same random numbers. Raises RuntimeError where TF_CONFIG is missing.
    """
    if cluster.place().size == 1:
        yield
        return
    if not os.environ.get("TF_CONFIG"):
        raise RuntimeError("TF_CONFIG must say where the workers are")
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # impossible once they have met
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    tf.keras.utils.set_random_seed(cluster.seed())
    with _whole_batches(), tempfile.TemporaryDirectory() as scratch:
        # Each worker has a folder of its own, and reads there what its callbacks wrote
        type(strategy.extended).should_checkpoint = property(lambda extended: True)
        strategy.experimental_distribute_dataset = _by_rows(
            strategy.experimental_distribute_dataset
        )
        _JOINED.update(strategy=strategy, scratch=Path(scratch))
        try:
            yield
            _wait_for_all(strategy)
        finally:
            _JOINED.clear()


def scope() -> contextlib.AbstractContextManager[Any]:
    """Where models, their optimizers and metrics are made, compiled and loaded."""
    strategy = _JOINED.get("strategy")
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def spread(model: Any) -> Any:
    """`model`, whose `fit` shares the rows of each batch between the workers.

    What is no Keras model is given back as it is. Raises TypeError for a model of Keras 3.
    """
    if not _JOINED:
        return model
    import tensorflow as tf

    if any(kind.__module__.startswith("keras.") for kind in type(model).__mro__):
        raise TypeError("a model of Keras 3 cannot be trained on several workers")
    return _Spread(model) if isinstance(model, tf.keras.Model) else model


def place(path: Any) -> Any:
    """Where this worker writes what the notebook writes to `path`.

    A relative path lies in the worker's own working folder. What has a fixed place is the chief's:
    the others write to a folder that is thrown away.
    """
    text = os.fspath(path) if hasattr(path, "__fspath__") else path
    fixed = isinstance(text, str) and (os.path.isabs(text) or "://" in text)
    if not _JOINED or not fixed or cluster.is_chief():
        return path
    own = Path(_JOINED["scratch"], text.replace("://", "/").lstrip("/"))
    own.parent.mkdir(parents=True, exist_ok=True)
    return own if hasattr(path, "__fspath__") else str(own)


def written(path: Any) -> Any:
    """Where this worker finds what is at `path`: its own copy, if it has written one."""
    known = bool(_JOINED) and not cluster.is_chief()
    return place(path) if known and os.path.exists(place(path)) else path


class _Spread:
    """A model seen by its trainer."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def fit(self, *data: Any, **options: Any) -> Any:
        """`Model.fit`. Raises ValueError for batches of which each worker would see others."""
        if options.get("use_multiprocessing") or options.get("workers", 1) > 1:
            raise ValueError("batches that are made in parallel come to each worker in their order")
        names = {type(part).__name__ for part in self._model.submodules}
        _JOINED["convolves"] = not names.isdisjoint(("Conv1D", "Conv2D"))
        with _synchronized(self._model):
            return self._model.fit(*data, **options)


@contextlib.contextmanager
def _synchronized(model: Any) -> Iterator[None]:
    """Lets batch normalisation take the statistics of the whole batch.

    For images, one worker by itself keeps the variance of a sample in mind, and several that of a
    population: a factor n / (n - 1) for the n pixels of a batch.
    """
    import tensorflow as tf

    kind = tf.keras.layers.BatchNormalization
    with contextlib.ExitStack() as stack:
        for layer in (part for part in model.submodules if isinstance(part, kind)):
            for name, value in (("synchronized", True), ("fused", False)):
                stack.callback(setattr, layer, name, getattr(layer, name))
                setattr(layer, name, value)
        yield


def _by_rows(distribute: Any) -> Any:
    """`experimental_distribute_dataset` that gives each worker its rows of every batch."""
    import tensorflow as tf

    def distributed(dataset: Any, options: Any = None) -> Any:
        if _JOINED.get("convolves"):
            dataset = _with_rows_for_all(dataset)
        wanted = tf.data.Options()
        wanted.deterministic = True
        policy = tf.data.experimental.AutoShardPolicy.DATA  # by files, batches would be others
        wanted.experimental_distribute.auto_shard_policy = policy
        return distribute(dataset.with_options(wanted), options)

    return distributed


def _with_rows_for_all(dataset: Any) -> Any:
    """`dataset`, which fails at a batch without a row for some worker: it cannot be convolved."""
    import tensorflow as tf

    def checked(*parts: Any) -> Any:
        rows = tf.shape(tf.nest.flatten(parts)[0])[0]
        why = "a batch has fewer rows than there are workers: choose another batch size"
        tf.debugging.assert_greater_equal(rows, cluster.place().size, why)
        return parts if isinstance(dataset.element_spec, tuple) else parts[0]

    return dataset.map(checked)


@contextlib.contextmanager
def _whole_batches() -> Iterator[None]:
    """Lets Keras compute losses and metrics of batches whose rows lie on several workers."""
    import tensorflow as tf

    layer, model, metric = tf.keras.layers.Layer, tf.keras.Model, tf.keras.metrics.MeanMetricWrapper
    normalization = tf.keras.layers.BatchNormalization
    with contextlib.ExitStack() as stack:
        for owner, name, changed in (
            (model, "compute_loss", _weighed),
            (tf.keras.losses.Loss, "__call__", _none_for_no_rows),
            (metric, "__init__", _gathered),
            # Metrics are those of all workers on each of them, and would be added up
            (model, "distribute_reduction_method", lambda before: "first"),
            (layer, "load_own_variables", _from_arrays),
            # Statistics of the batch are news for a worker too that has none of its rows
            (normalization, "_support_zero_size_input", lambda before: lambda part: False),
        ):
            before = getattr(owner, name)
            stack.callback(setattr, owner, name, before)
            setattr(owner, name, changed(before))
        yield


def _weighed(compute_loss: Any) -> Any:
    """`Model.compute_loss` for gradients that are summed over workers whose rows are not as many.

    Keras divides the mean loss of a worker's rows by the number of workers: the mean over the batch
    if it can be split evenly, and not for the rest at the end of the data.
    """
    import tensorflow as tf

    def weighed(
        model: Any, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> Any:
        loss = compute_loss(model, x, y, y_pred, sample_weight)
        replica = tf.distribute.get_replica_context()
        if loss is None or replica is None or _is_summed(model):
            return loss
        first = tf.nest.flatten(x if y is None else y)[0]
        count = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0]
        rows = tf.cast(count, loss.dtype)
        return loss * rows * replica.num_replicas_in_sync / replica.all_reduce("SUM", rows)

    return weighed


def _none_for_no_rows(call: Any) -> Any:
    """`Loss.__call__` that is 0 for a worker without rows: the mean of nothing is no number."""
    import tensorflow as tf

    def called(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        found = call(loss, y_true, y_pred, sample_weight)
        rows = tf.shape(tf.nest.flatten(y_pred)[0])[0]
        if found.shape.rank:
            return found
        with tf.control_dependencies(_proofs(loss, y_true, y_pred)):
            return tf.where(rows > 0, found, tf.zeros_like(found))

    return called


def _proofs(loss: Any, y_true: Any, y_pred: Any) -> list[Any]:
    """For a loss that gives one number for a batch: that it is the mean of those of its parts."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or not all(isinstance(rows, tf.Tensor) for rows in (y_true, y_pred)):
        return []
    part = tf.convert_to_tensor(loss.call(y_true, y_pred))
    if part.shape.rank != 0:
        return []
    rows = tf.cast(tf.shape(y_pred)[0], part.dtype)
    own = tf.where(rows > 0, part * rows, tf.zeros_like(part))
    mean = replica.all_reduce("SUM", own) / replica.all_reduce("SUM", rows)
    gathered = (replica.all_gather(rows, axis=0) for rows in (y_true, y_pred))
    whole = loss.call(*map(tf.stop_gradient, gathered))
    why = "a loss is no mean over the rows of a batch: let it give one number for each row"
    return [tf.debugging.assert_near(whole, mean, 1e-3, 1e-3, why)]


def _gathered(prepare: Any) -> Any:
    """`MeanMetricWrapper.__init__` for functions that give one number for a batch, not one a row.

    Such a number cannot be put together from those of parts of the batch, as the root of a mean.
    """
    import tensorflow as tf

    def with_rows(function: Any) -> Any:
        @functools.wraps(function)
        def of_batch(y_true: Any, y_pred: Any, **options: Any) -> Any:
            found = tf.convert_to_tensor(function(y_true, y_pred, **options))
            replica = tf.distribute.get_replica_context()
            if found.shape.rank != 0 or replica is None:
                return found
            whole = (replica.all_gather(rows, axis=0) for rows in (y_true, y_pred))
            return function(*whole, **options)

        return of_batch

    def prepared(metric: Any, fn: Any, *others: Any, **options: Any) -> None:
        prepare(metric, fn, *others, **options)
        metric._fn = with_rows(fn)

    return prepared


def _from_arrays(load: Any) -> Any:
    """`Layer.load_own_variables` for metrics, whose variables take no datasets of an HDF5 file."""
    import numpy as np

    def loaded(layer: Any, store: Any) -> None:
        load(layer, {key: np.asarray(store[key]) for key in store.keys()})

    return loaded


def _is_summed(model: Any) -> bool:
    """Whether the loss of `model` is a sum over rows, which needs no weights."""
    import tensorflow as tf

    losses = tf.nest.flatten(getattr(model.compiled_loss, "_losses", None))
    summed = {getattr(loss, "reduction", None) == "sum" for loss in losses if loss is not None}
    if len(summed) > 1:
        raise ValueError("losses that are sums and losses that are means cannot be spread together")
    return True in summed


def _wait_for_all(strategy: Any) -> None:
    """Returns when every worker has come here: the group ends when one of them does."""
    import tensorflow as tf

    def met() -> Any:
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0))

    strategy.run(tf.function(met))
