"""Trains XGBoost models on the rows of several workers, with the result of one.

Every worker runs the whole step on the same data, but grows trees from its own rows only: XGBoost
adds the histograms of all of them up. The bins of the histograms are those of all rows, so that the
trees are the ones that a single process grows; sums of floats may differ in their last digits.
With one worker everything here leaves XGBoost as it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import io
import json
import os
import random
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import xgboost
from xgboost.callback import EvaluationMonitor
from xgboost.collective import CommunicatorContext, Op, allreduce
from xgboost.tracker import RabitTracker

from housing_xgboost import cluster

Call = TypeVar("Call", bound=Callable[..., Any])

PATIENCE = 600.0
"""Seconds that the workers wait for each other when they start."""

SUMS = frozenset(
    "rmse rmsle mae mape mphe logloss error mlogloss merror poisson-nloglik gamma-nloglik "
    "gamma-deviance tweedie-nloglik aft-nloglik".split()
)
"""Metrics that are sums over rows: the workers' rows give exactly what all rows give."""

ALONE: Mapping[str, frozenset[str]] = {
    "booster": frozenset({"gblinear"}),
    "tree_method": frozenset({"exact", "approx"}),
    "objective": frozenset({"reg:absoluteerror", "reg:quantileerror", "survival:cox"}),
    "process_type": frozenset({"update"}),
    "lambdarank_pair_method": frozenset({"mean"}),
    "lambdarank_unbiased": frozenset({"True", "1", "true"}),
}
"""What workers of XGBoost compute differently, or not at all: each then trains on all rows."""


class _Peers:
    """The connections of this worker: the chief's to all others, each other one's to the chief."""

    def __init__(self, place: cluster.Place) -> None:
        host, _, port = place.address.rpartition(":")
        address, others = (host.strip("[]"), int(port)), place.size - 1
        self.place, self.process = place, os.getpid()
        self.host = socket.getaddrinfo(address[0], None, type=socket.SOCK_STREAM)[0][4][0]
        self._sockets = [_connected(address)] if place.rank else _accepted(address, others)
        self._files = [one.makefile("rw", encoding="utf-8") for one in self._sockets]

    def share(self, value: Any) -> Any:
        """What the chief gives, as JSON, on all workers."""
        if self.place.rank:
            return json.loads(_line(self._files[0]))
        for file in self._files:
            file.write(json.dumps(value) + "\n")
            file.flush()
        return value

    def agree(self, what: str, value: str) -> None:
        """Raises RuntimeError on all workers if one of them has another value than the chief."""
        if self.place.rank:
            self._files[0].write(value + "\n")
            self._files[0].flush()
            agreed = self.share(None)
        else:
            agreed = self.share(all(_line(file).strip() == value for file in self._files))
        if not agreed:
            raise RuntimeError(f"the workers do not have the same {what}")

    def close(self) -> None:
        """Closes the connections."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        for one in self._sockets:
            one.close()


def _accepted(address: tuple[str, int], count: int) -> list[socket.socket]:
    with socket.create_server(address, backlog=count) as server:
        server.settimeout(PATIENCE)
        return [server.accept()[0] for _ in range(count)]


def _connected(address: tuple[str, int]) -> socket.socket:
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            found = socket.create_connection(address, timeout=PATIENCE)
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)
        else:
            found.settimeout(None)
            return found


def _line(file: Any) -> str:
    line = str(file.readline())
    if not line:
        raise ConnectionError("another worker is gone")
    return line


_peers: _Peers | None = None


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Joins the workers of the step; random numbers begin alike on all of them."""
    global _peers
    place = cluster.place()
    if place.size == 1:
        yield
        return
    _peers = _Peers(place)
    _seed(cluster.seed())
    try:
        yield
    finally:
        _peers.close()
        _peers = None


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)


def spread(call: Call) -> Call:
    """`call`, an `xgboost.train` or the fit of an estimator, on the rows of all workers.

    Whatever else it does, every worker does in full.
    """
    peers = _peers
    if peers is None or peers.process != os.getpid():  # a fork of a worker is none
        return call

    train = functools.partial(_train, peers, xgboost.train)
    if call is xgboost.train:
        return train  # type: ignore[return-value]

    @functools.wraps(call)
    def fit(*args: Any, **options: Any) -> Any:
        with mock.patch("xgboost.sklearn.train", train):
            return call(*args, **options)

    return fit  # type: ignore[return-value]


def _train(
    peers: _Peers, train: Callable[..., xgboost.Booster], *args: Any, **words: Any
) -> xgboost.Booster:
    """xgboost.train on this worker's rows, together with the others."""
    options = {**dict(zip(inspect.signature(train).parameters, args)), **words}
    params, dtrain, place = dict(options.pop("params")), options.pop("dtrain"), peers.place
    cuts = _cuts(dtrain, place.size)
    why = _alone(params, dtrain, cuts)
    if why:
        if not place.rank:
            print(f"each worker trains on all rows: {why}", file=sys.stderr)
        return train(params, dtrain, **options)
    peers.agree("training data", _digest(dtrain))
    rows = slice(cuts[place.rank], cuts[place.rank + 1])
    whole = dtrain if isinstance(dtrain, xgboost.QuantileDMatrix) else _quantiles(params, dtrain)
    _print_on_chief(options)
    log = options.setdefault("evals_result", {})
    with _together(peers):
        own = _quantiles(params, dtrain, rows, whole)
        options["evals"] = _evaluated(params, dtrain, own, options)
        if options.get("obj") is not None:
            options["obj"] = _of_all_rows(options["obj"], dtrain, rows)
        with _refers(own, options["evals"]):
            booster = train(params, own, **options)
    for scores in (scores for metrics in (log or {}).values() for scores in metrics.values()):
        scores[:] = map(float, scores)
    return booster


def _alone(params: Mapping[str, Any], dtrain: xgboost.DMatrix, cuts: Sequence[int]) -> str:
    """Why a training cannot be spread without changing its result; empty if it can."""
    for name, values in ALONE.items():
        if str(params.get(name)) in values:
            return f"{name}={params[name]}"
    if params.get("updater"):
        return "an updater is chosen by hand"
    if isinstance(dtrain, getattr(xgboost, "ExtMemQuantileDMatrix", ())):
        return "the data are in external memory"
    if threading.current_thread() is not threading.main_thread():
        return "it runs in a thread, of which the workers may start several in another order"
    if "c" in (dtrain.feature_types or ()):
        return "there are categorical features"
    if str(params.get("objective")).startswith("rank:") and len(dtrain.get_weight()):
        return "the groups have weights"
    if len(set(cuts)) < len(cuts):
        return "there are fewer rows, or groups of rows, than workers"
    return ""


def _cuts(dtrain: xgboost.DMatrix, size: int) -> list[int]:
    """Where the rows of one worker end and those of the next begin; groups stay together."""
    bounds = [int(bound) for bound in dtrain.get_uint_info("group_ptr")]
    if len(bounds) < 3:
        bounds = list(range(dtrain.num_row() + 1))
    return [bounds[(len(bounds) - 1) * rank // size] for rank in range(size + 1)]


def _digest(dtrain: xgboost.DMatrix) -> str:
    """What two matrices have in common only if they hold the same."""
    digest = hashlib.sha256(repr((dtrain.num_row(), dtrain.num_col())).encode())
    data = dtrain.get_data()
    for part in (data.indptr, data.indices, data.data, *_known(dtrain).values()):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _known(dtrain: xgboost.DMatrix) -> dict[str, np.ndarray]:
    """What the matrix knows of its rows beside their features."""
    names = ("label", "weight", "base_margin", "label_lower_bound", "label_upper_bound")
    found = {name: dtrain.get_float_info(name) for name in names}
    return {name: values for name, values in found.items() if len(values)}


def _quantiles(
    params: Mapping[str, Any],
    dtrain: xgboost.DMatrix,
    rows: slice = slice(None),
    ref: xgboost.DMatrix | None = None,
) -> xgboost.QuantileDMatrix:
    """The rows of the matrix in bins: in their own, or in those of `ref`."""
    groups = dtrain.get_uint_info("group_ptr")
    inside = [n for n, first in enumerate(groups[:-1]) if _holds(rows, int(first))]
    known = _known(dtrain)
    by_group = len(groups) > 2 and len(known.get("weight", ())) == len(groups) - 1
    weight = {"weight": known.pop("weight")[inside]} if by_group else {}
    weights = dtrain.get_float_info("feature_weights")
    found = xgboost.QuantileDMatrix(
        dtrain.get_data()[rows],
        **{name: values[rows] for name, values in known.items()},
        **weight,
        group=np.diff(groups)[inside] if len(groups) > 2 else None,
        feature_weights=weights if len(weights) else None,
        feature_names=dtrain.feature_names,
        feature_types=dtrain.feature_types,
        max_bin=params.get("max_bin"),
        ref=ref,
    )
    return found


def _holds(rows: slice, number: int) -> bool:
    return (rows.start or 0) <= number and (rows.stop is None or number < rows.stop)


@contextlib.contextmanager
def _together(peers: _Peers) -> Iterator[None]:
    """While it lasts XGBoost of all workers computes together."""
    tracker, place = None, peers.place
    if not place.rank:
        tracker = RabitTracker(n_workers=place.size, host_ip=peers.host, sortby="task")
        tracker.start()
    told = peers.share(tracker and tracker.worker_args())
    with contextlib.redirect_stdout(io.StringIO()):  # there XGBoost prints which rank it got
        context = CommunicatorContext(**told, dmlc_task_id=f"{place.rank:06}")
        context.__enter__()
    try:
        yield
    except BaseException as error:
        error.at = time.time()  # type: ignore[attr-defined]  # the others fail when this one leaves
        raise
    finally:
        context.__exit__()
    if tracker:
        tracker.wait_for()


def _evaluated(
    params: Mapping[str, Any],
    dtrain: xgboost.DMatrix,
    own: xgboost.DMatrix,
    options: Mapping[str, Any],
) -> list[tuple[xgboost.DMatrix, str]]:
    """The matrices to evaluate, in full; of the training's the own rows where that adds up."""
    given = params.get("eval_metric") or ()
    metrics = [given] if isinstance(given, str) else list(given)
    objective = str(params.get("objective"))
    adds_up = all(str(metric).partition("@")[0] in SUMS for metric in metrics)
    plain = options.get("custom_metric") is None and not objective.startswith("rank:")
    replaced = own if adds_up and plain else dtrain
    return [(replaced if one is dtrain else one, name) for one, name in options.get("evals") or ()]


@contextlib.contextmanager
def _refers(own: xgboost.DMatrix, evals: Sequence[tuple[xgboost.DMatrix, str]]) -> Iterator[None]:
    """While it lasts the matrices to evaluate belong to this worker's rows, as XGBoost checks."""
    binned: list[Any] = [m for m, _ in evals if isinstance(m, xgboost.QuantileDMatrix)]
    before = {id(matrix): matrix.ref for matrix in binned}
    for matrix in binned:
        matrix.ref = weakref.ref(own)
    try:
        yield
    finally:
        for matrix in binned:
            matrix.ref = before[id(matrix)]


def _of_all_rows(objective: Callable[..., Any], dtrain: xgboost.DMatrix, rows: slice) -> Any:
    """An objective of the user's own, computed from all rows, for this worker's rows."""

    def of_own_rows(predicted: np.ndarray, _: xgboost.DMatrix) -> tuple[np.ndarray, np.ndarray]:
        everything = np.zeros((dtrain.num_row(), *predicted.shape[1:]), predicted.dtype)
        everything[rows] = predicted
        everything = allreduce(everything, Op.SUM).reshape(everything.shape)
        gradients = (np.asarray(part) for part in objective(everything, dtrain))
        shaped = (part.reshape(dtrain.num_row(), -1) for part in gradients)
        gradient, hessian = (part[rows] if part.shape[1] > 1 else part[rows, 0] for part in shaped)
        return gradient, hessian

    return of_own_rows


def _print_on_chief(options: dict[str, Any]) -> None:
    """Has the evaluation printed as by a single process, not by XGBoost's tracker."""
    period = options.pop("verbose_eval", True)
    options["verbose_eval"] = False
    if period:
        monitor = EvaluationMonitor(period=int(period), logger=lambda text: print(text.strip()))
        options["callbacks"] = [*(options.get("callbacks") or ()), monitor]
