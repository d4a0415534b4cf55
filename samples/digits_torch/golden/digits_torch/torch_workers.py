"""Spreads a PyTorch training over workers. With one worker every function here is the identity.

All workers run the whole step, on the same batches and with the same random numbers. What they
divide is the work of a batch: `replicated(model)(batch)` computes this worker's rows and puts the
outputs of all workers together, so that the loss, the metrics and every decision see the whole
batch, as in the notebook. `share(loader)` divides the loading of the batches in the same way.

The gradients are averaged over the workers at the end of every backward pass. That is what
DistributedDataParallel does, which however sees only one backward pass after one forward pass: of
`loss_real.backward(); loss_fake.backward()` after two forward passes it would leave out the second
and train another model on each worker, without a word.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import DataLoader, Sampler

from digits_torch import cluster
from digits_torch.torch_rows import (
    PLAIN,
    Rows,
    WholeBatch,
    all_rows,
    out_dims,
    own_rows,
    row_dims,
    rows_of,
)

AHEAD = 256
"""How many batches of an epoch worker 0 tells the others at a time."""


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Joins the other workers, on a GPU of its own where there are any, and leaves them in the end.

    All of them begin with the same random state, which a seed of the notebook then replaces.
    """
    place = cluster.place()
    if place.size == 1:
        yield
        return
    _take_a_gpu()
    address = f"tcp://{place.address}"
    dist.init_process_group(init_method=address, rank=place.rank, world_size=place.size)
    _seed(cluster.seed())
    try:
        yield
    finally:
        _gradients.forget()
        dist.destroy_process_group()


def _spread() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _take_a_gpu() -> None:
    """Of several GPUs leaves this process one to see: the notebook's `cuda:0` is then its own."""
    if torch.cuda.is_initialized() or not torch.cuda.is_available():
        return
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = known.split(",") if known else [str(i) for i in range(torch.cuda.device_count())]
    local = int(os.environ.get("LOCAL_RANK", 0))
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[local % len(devices)]


# --- random numbers -----------------------------------------------------------------------------
def _seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    with contextlib.suppress(ImportError):
        import numpy as np

        np.random.seed(seed)


@contextlib.contextmanager
def _randomness_kept() -> Iterator[None]:
    """Whatever is drawn inside, the notebook draws the same afterwards."""
    generators = [(random.getstate, random.setstate)]
    with contextlib.suppress(ImportError):
        import numpy as np

        generators.append((np.random.get_state, np.random.set_state))
    states = [get() for get, _ in generators]
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for state, (_, set_again) in zip(states, generators):
            set_again(state)


def _torch_state() -> list[Tensor]:
    gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpu]


def _set_torch_state(state: Sequence[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])


def _draw_on_together(before: Sequence[Tensor]) -> None:
    """After a forward pass that drew random numbers for some rows: go on from worker 0's state."""
    after = _torch_state()
    if not all(map(torch.equal, before, after)):
        for state in after:
            dist.broadcast(state, 0)
        _set_torch_state(after)


# --- loading ------------------------------------------------------------------------------------
def share(loader: Any) -> Any:
    """The same batches as from `loader`, in the order that worker 0 draws.

    Where the loader has processes of its own (`num_workers`), loading is work: then each worker
    loads its rows of a batch, and they are exchanged. A DistributedSampler would draw other batches
    than the notebook and repeat rows to fill the last one; this takes the batches of any sampler,
    shuffled or weighted, as they are. Anything but a DataLoader with batches is given back.
    """
    plain = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    if not _spread() or not plain or loader.batch_sampler is None:
        return loader
    if isinstance(loader.dataset, torch.utils.data.IterableDataset):
        return loader
    if loader not in _shared:
        _shared[loader] = _Shared(loader)
    return _shared[loader]


class _Order(Sampler[Any]):
    """The batches of row numbers that worker 0 draws; with `parts`, this worker's rows of each."""

    def __init__(self, batches: Iterable[Any], parts: bool) -> None:
        self.batches, self.parts = batches, parts

    def __iter__(self) -> Iterator[Any]:
        drawing = iter(self.batches)
        told: list[Any] = [None] * AHEAD
        while len(told) == AHEAD:
            drawn = [list(itertools.islice(drawing, AHEAD))]
            dist.broadcast_object_list(drawn, 0)
            told = drawn[0]
            for batch in told:
                rows = Rows.of(len(batch)) if self.parts else None
                yield list(batch)[rows.start : rows.stop] if rows else batch


class _Shared:
    """A DataLoader whose batches all workers draw, and where that is work load, together."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        assert loader.batch_sampler is not None
        self.batches = loader.batch_sampler
        self.generator = loader.generator
        self.parts = loader.num_workers > 0
        self.collate = loader.collate_fn
        self.begun = False
        self.loader: DataLoader[Any] = DataLoader(
            loader.dataset,
            batch_sampler=_Order(self.batches, self.parts),
            num_workers=loader.num_workers,
            collate_fn=list if self.parts else loader.collate_fn,
            pin_memory=loader.pin_memory and not self.parts,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if not self.parts:
            yield from self.loader
            return
        if not (self.begun and self.loader.persistent_workers):
            self._seed_processes()
        self.begun = True
        for rows in self.loader:
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, rows)
            yield self.collate([row for part in parts for row in part])

    def _seed_processes(self) -> None:
        """Other random numbers for the rows of each worker; one is drawn, as by a DataLoader."""
        drawn = torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        self.loader.generator = torch.Generator().manual_seed(int(drawn) // 2 + dist.get_rank())


_shared: WeakKeyDictionary[DataLoader[Any], _Shared] = WeakKeyDictionary()


# --- forward ------------------------------------------------------------------------------------
def replicated(module: Any) -> Any:
    """`module`, which for training computes on each worker some rows of a batch, for all workers.

    It is called like the module and gives what the module gives. Where nothing is to be learned (no
    gradients, nothing trainable, fewer rows than workers) every worker computes the whole. Before
    it first trains so, the parts are compared with the whole: RuntimeError where the rows of a
    batch depend on one another.
    """
    if not _spread() or not isinstance(module, nn.Module):
        return module
    module = getattr(module, "_orig_mod", module)  # as it was before torch.compile
    if module not in _replicas:
        _replicas[module] = Replica()
    return _Call(module, _replicas[module])


class Plan(NamedTuple):
    """Along which dimension each input is cut and each output put together; None: it is whole."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]


class Replica:
    """What is known of a module: how it is cut by the kind of its inputs, and how often it ran."""

    def __init__(self) -> None:
        self.plans: dict[Any, Plan] = {}
        self.calls = 0
        self.running = False


_replicas: WeakKeyDictionary[nn.Module, Replica] = WeakKeyDictionary()


class _Call:
    """A module as `replicated` gives it."""

    def __init__(self, module: nn.Module, replica: Replica) -> None:
        self.module, self.replica = module, replica

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        learning = [p for p in self.module.parameters() if p.requires_grad]
        lazy = any(map(torch.nn.parameter.is_lazy, self.module.parameters()))
        inside = any(replica.running for replica in _replicas.values())
        if not torch.is_grad_enabled() or inside or lazy or not learning:
            return self.module(*args, **kwargs)
        _gradients.watch(self.module, learning)
        given, form = tree_flatten((args, kwargs))
        self.check_same([*given, *learning])
        self.replica.running = True
        try:
            plan = self.plan(given, form)
            if plan and rows_of(given, plan.inputs).size >= dist.get_world_size():
                return self.in_parts(given, form, plan)
            return self.module(*args, **kwargs)
        finally:
            self.replica.running = False

    forward = __call__

    def check_same(self, values: Sequence[Any]) -> None:
        """Compares batch and weights of the workers, at first at each call and then ever less."""
        self.replica.calls += 1
        if self.replica.calls & (self.replica.calls - 1):
            return
        tensors = [value.detach() for value in values if isinstance(value, Tensor)]
        if not _agreed([value.shape for value in tensors]) or not _same_on_all(_digest(tensors)):
            raise RuntimeError(
                f"the workers would train {type(self.module).__name__} on different batches or "
                "weights: something is drawn without a seed, or depends on the time"
            )

    def plan(self, given: Sequence[Any], form: Any) -> Plan | None:
        """How to cut, proved with this batch; None where it has fewer rows than workers."""
        kind = (self.module.training, str(form), *map(_kind, given))
        if kind in self.replica.plans:
            return self.replica.plans[kind]
        cuts = [dims for dims in (row_dims(given, dim) for dim in (0, 1)) if dims]
        able = [dims for dims in cuts if rows_of(given, dims).size >= dist.get_world_size()]
        for inputs in able:
            outputs = self.proved(given, form, inputs)
            if outputs is not None:
                self.replica.plans[kind] = Plan(inputs, outputs)
                return self.replica.plans[kind]
        if cuts and not able:
            return None
        raise RuntimeError(
            f"{type(self.module).__name__} cannot be trained by {dist.get_world_size()} workers: "
            "for parts of a batch it gives or keeps something else than for the whole. Its "
            "forward() must take tensors with a row for each sample and give such tensors; what "
            "needs all rows (a loss, a mean over the batch, a count in an attribute) belongs into "
            "the training loop"
        )

    def proved(
        self, given: Sequence[Any], form: Any, inputs: tuple[int | None, ...]
    ) -> tuple[int | None, ...] | None:
        """How outputs are put together, if parts give the outputs and gradients of the whole.

        Copies of the module compute both, so that nothing of it changes; without the dropout
        inside attention and recurrent layers, which is drawn for each part.
        """
        rows = rows_of(given, inputs)
        with _randomness_kept():
            whole, parted = _quiet(copy.deepcopy(self.module)), _quiet(copy.deepcopy(self.module))
            state = _torch_state()
            args, kwargs = tree_unflatten([*map(_copied, given)], form)
            expected = tree_flatten(whole(*args, **kwargs))[0]
            _set_torch_state(state)
            try:
                local = tree_flatten(_computed(parted, [*map(_copied, given)], form, inputs))[0]
                outputs = out_dims(expected, local, rows)
            except Exception:  # a wrong cut fails in any way; another one may be right
                local, outputs = [], None
            if not _agreed([outputs]) or outputs is None:
                return None
            joined = all_rows(local, outputs, rows)
            pairs = [*zip(expected, joined), *zip(whole.buffers(), parted.buffers())]
            kept = _kept(whole), _kept(parted)
            alike = len(kept[0]) == len(kept[1]) and all(
                _close(one, other) for one, other in [*pairs, *zip(*kept)]
            )
            if not _all_agree(alike):
                return None
            same = _same_gradients(whole, expected, parted, joined)
            return outputs if _all_agree(same) else None

    def in_parts(self, given: Sequence[Any], form: Any, plan: Plan) -> Any:
        """What the module gives for the whole batch, of which this worker computes its rows."""
        state = _torch_state()
        local, out_form = tree_flatten(_computed(self.module, given, form, plan.inputs))
        shapes = [_shape_of_a_row(value, dim) for value, dim in zip(local, plan.outputs)]
        if not _agreed([len(local), *shapes]) or len(local) != len(plan.outputs):
            raise RuntimeError(
                f"the outputs of {type(self.module).__name__} have another shape on each worker, "
                "which padding to the longest row of a batch does, for example"
            )
        _draw_on_together(state)
        for value, dim in zip(local, plan.outputs):
            if isinstance(value, Tensor) and dim is None:
                _check_equal(value)
        return tree_unflatten(all_rows(local, plan.outputs, rows_of(given, plan.inputs)), out_form)


def _computed(
    module: nn.Module, given: Sequence[Any], form: Any, inputs: tuple[int | None, ...]
) -> Any:
    """What `module` gives for this worker's rows of the batch `given`."""
    rows = rows_of(given, inputs)
    own = [v if dim is None else own_rows(v, dim, rows) for v, dim in zip(given, inputs)]
    args, kwargs = tree_unflatten(own, form)
    with WholeBatch(rows, next(dim for dim in inputs if dim is not None)):
        return module(*args, **kwargs)


def _check_equal(value: Tensor) -> None:
    """RuntimeError where an output without rows is not the same on all workers."""
    low, high = value.detach().double(), value.detach().double()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    if not _close(low.to(value.dtype), high.to(value.dtype)):
        raise RuntimeError("an output that has no rows is computed from the rows of the batch")


def _kind(value: Any) -> Any:
    return (value.dim(), str(value.dtype)) if isinstance(value, Tensor) else type(value).__name__


def _shape_of_a_row(value: Any, dim: int | None) -> Any:
    if not isinstance(value, Tensor):
        return repr(value) if isinstance(value, PLAIN) else type(value).__name__
    return [size for d, size in enumerate(value.shape) if d != dim], str(value.dtype)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _quiet(module: nn.Module) -> nn.Module:
    """The module without the dropout that attention and recurrent layers do inside."""
    for layer in module.modules():
        if isinstance(getattr(layer, "dropout", None), float):
            layer.dropout = 0.0  # type: ignore[assignment]
    return module


def _kept(module: nn.Module) -> list[Any]:
    """The tensors, numbers and texts in attributes of `module` and its parts, buffers left out."""
    own = nn.Module().__dict__
    attributes = [v for part in module.modules() for k, v in part.__dict__.items() if k not in own]
    return [v for v in tree_flatten(attributes)[0] if isinstance(v, (Tensor, int, float, str))]


def _close(one: Any, other: Any, slack: float = 1) -> bool:
    """Whether two values are the same but for rounding, relative to the largest number in them."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other)
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    exact = {torch.float64: 1e-9, torch.float32: 5e-3 if one.is_cuda else 1e-4}
    mixed = torch.is_autocast_enabled(one.device.type)
    tolerance = slack * (3e-2 if mixed else exact.get(one.dtype, 3e-2))
    scale = one.abs().nan_to_num(0, 0, 0).max().item() if one.numel() else 0
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _same_gradients(
    whole: nn.Module, expected: Sequence[Any], parted: nn.Module, joined: Sequence[Any]
) -> bool:
    """Whether small and large gradients of the outputs give the same gradients of the weights."""
    for scale in (1.0, 1e3):
        for module, outputs in ((whole, expected), (parted, joined)):
            module.zero_grad()
            sums = [
                (value * torch.arange(value.numel()).cos().to(value).reshape(value.shape)).sum()
                for value in outputs
                if isinstance(value, Tensor) and value.requires_grad
            ]
            (sum(sums) * scale).backward(retain_graph=True)  # type: ignore[union-attr]
        weights = [weight for weight in parted.parameters() if weight.requires_grad]
        _average(weights, [weight.grad is not None for weight in weights])
        wanted = [weight for weight in whole.parameters() if weight.requires_grad]
        if [w.grad is None for w in wanted] != [w.grad is None for w in weights]:
            return False
        both = (torch.cat([_flat(weight) for weight in some]) for some in (wanted, weights))
        if not _close(*both, slack=10):
            return False
    return True


def _digest(tensors: Sequence[Tensor]) -> Tensor:
    """For each tensor a number that changes with its values and with their order."""
    sums = []
    for tensor in tensors:
        values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        flat = values.double().nan_to_num(0, 0, 0).reshape(-1)
        sums += [flat @ torch.linspace(1, 2, len(flat)).to(flat), flat.abs().sum()]
    return torch.stack(sums).cpu()


def _same_on_all(numbers: Tensor) -> bool:
    """Whether `numbers` are the same on all workers but for rounding, which depends on machines."""
    low, high = numbers.clone(), numbers.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    scale = torch.maximum(low.abs(), high.abs()).reshape(-1, 2).amax(1, keepdim=True)
    return bool(((high - low).reshape(-1, 2) <= 1e-5 * scale).all())


def _all_agree(opinion: bool) -> bool:
    """Whether all workers say so."""
    return _agreed([opinion]) and opinion


def _agreed(values: Sequence[Any]) -> bool:
    """Whether all workers have the same `values` here, as far as they look the same."""
    own = torch.tensor([zlib.crc32(repr(values).encode())])
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    return all(torch.equal(own, other) for other in found)


# --- gradients ----------------------------------------------------------------------------------
class _Gradients:
    """Averages gradients over the workers at the end of each backward pass.

    What a pass adds to a gradient is this worker's share where rows were divided, and the same on
    all workers elsewhere; the gradient from before is the same too. So the average is right for
    several backward passes, frozen and unused weights, penalties on weights, several models.
    """

    def __init__(self) -> None:
        self.sets: list[list[Tensor]] = []
        self.watched: dict[int, Tensor] = {}
        self.handles: list[Any] = []
        self.reached: set[int] = set()
        self.added: set[int] = set()

    def watch(self, module: nn.Module, weights: Sequence[Tensor]) -> None:
        """From now on averages the gradients of `weights`, which begin as on worker 0."""
        new = [weight for weight in weights if id(weight) not in self.watched]
        if not new:
            return
        for tensor in (*new, *module.buffers()):
            value = tensor.detach().contiguous()
            dist.broadcast(value, 0)
            tensor.data.copy_(value)
        for weight in new:
            self.watched[id(weight)] = weight
            self.handles += [
                weight.register_hook(lambda _, key=id(weight): self.reach(key)),
                weight.register_post_accumulate_grad_hook(lambda w: self.added.add(id(w))),
            ]
        self.sets.append(new)

    def reach(self, weight: int) -> None:
        if not self.reached:
            torch.autograd.Variable._execution_engine.queue_callback(self.average)
        self.reached.add(weight)

    def average(self) -> None:
        reached, added = self.reached, self.added
        self.reached, self.added = set(), set()
        if reached - added:
            raise RuntimeError(
                "torch.autograd.grad gives the gradients of one worker's rows only; with workers, "
                "take gradients of weights by .backward()"
            )
        for weights in self.sets:
            if any(id(weight) in added for weight in weights):
                _average(weights, [id(weight) in added for weight in weights])

    def forget(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.__init__()  # type: ignore[misc]


_gradients = _Gradients()


@torch.no_grad()
def _average(weights: Sequence[Tensor], added: Sequence[bool]) -> None:
    """Replaces the gradients of `weights` by their average; those that were added to anywhere."""
    if any(weight.grad is not None and weight.grad.is_sparse for weight in weights):
        raise RuntimeError("sparse gradients cannot be averaged over workers; take sparse=False")
    exact = torch.float64 if any(w.dtype is torch.float64 for w in weights) else torch.float32
    flat = [_flat(weight).to(exact) for weight in weights]
    sent = torch.cat([*flat, torch.tensor(added, dtype=exact, device=flat[0].device)])
    dist.all_reduce(sent)
    *means, anywhere = (sent / dist.get_world_size()).split([*map(len, flat), len(added)])
    for weight, mean, some in zip(weights, means, anywhere.tolist()):
        if some and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        if some:
            real = torch.view_as_real(weight.grad) if weight.is_complex() else weight.grad
            real.copy_(mean.reshape(real.shape))  # type: ignore[union-attr]


def _flat(weight: Tensor) -> Tensor:
    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return (torch.view_as_real(gradient) if weight.is_complex() else gradient).reshape(-1)
