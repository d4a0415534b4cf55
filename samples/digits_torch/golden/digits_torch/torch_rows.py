"""The rows of a batch among workers: what is cut, what is put together, what goes by all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class Rows(NamedTuple):
    """The rows `start` to `stop` of a batch of `size`, which this worker computes."""

    start: int
    stop: int
    size: int

    @classmethod
    def of(cls, size: int) -> Rows:
        """Contiguous rows, as many as the other workers have, or one more."""
        rank, workers = dist.get_rank(), dist.get_world_size()
        return cls(size * rank // workers, size * (rank + 1) // workers, size)

    @property
    def many(self) -> int:
        return self.stop - self.start

    def times(self, tensor: Tensor, dim: int) -> int:
        """How many entries along `dim` belong to one row; 0 where that dimension is no rows."""
        if tensor.dim() <= dim or tensor.size(dim) % self.many:
            return 0
        return tensor.size(dim) // self.many


def gathered(part: Tensor, dim: int, times: int, rows: Rows) -> Tensor:
    """The rows of all workers along `dim`, with `times` entries for each row."""
    workers = dist.get_world_size()
    ends = [times * (rows.size * rank // workers) for rank in range(workers + 1)]
    counts = [stop - start for start, stop in zip(ends, ends[1:])]
    first = part.detach().movedim(dim, 0).contiguous()
    flat = first.reshape(len(first), -1).view(torch.uint8)  # bytes are sent for every data type
    sent = flat.new_zeros((max(counts), flat.size(1)))
    sent[: flat.size(0)] = flat
    got = [torch.empty_like(sent) for _ in counts]
    dist.all_gather(got, sent)
    whole = torch.cat([bytes_[:count] for bytes_, count in zip(got, counts)]).view(part.dtype)
    return whole.reshape(ends[-1], *first.shape[1:]).movedim(0, dim).contiguous()


class _Cut(torch.autograd.Function):
    """This worker's rows of a tensor that all workers have; its gradient is that of all rows."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, dim: int, times: int, rows: Rows) -> Tensor:
        ctx.place = dim, times, rows
        return whole.narrow(dim, times * rows.start, times * rows.many).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Join.apply(gradient, *ctx.place) / dist.get_world_size(), None, None, None


class _Join(torch.autograd.Function):
    """The rows of all workers; its gradient is that of this worker's rows.

    Since gradients are averaged in the end although each row counts on one worker only, it is
    multiplied by the number of workers.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, dim: int, times: int, rows: Rows) -> Tensor:
        ctx.place = dim, times, rows
        return gathered(part, dim, times, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Cut.apply(gradient, *ctx.place) * dist.get_world_size(), None, None, None


class _Normalise(torch.autograd.Function):
    """Batch normalisation by the mean and variance over all workers, which every row changes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, moments: Moments) -> Tensor:
        ctx.save_for_backward(rows, weight, *moments[:3])
        ctx.eps = moments.eps
        mean, variance, _, eps = moments
        return F.batch_norm(rows, mean, variance, weight, bias, False, 0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        rows, weight, mean, variance, number = ctx.saved_tensors
        shape = [1, -1, *[1] * (rows.dim() - 2)]
        known = mean, variance, None, None, False, ctx.eps, [True, True, True]
        of_rows, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), rows, weight, *known
        )
        total = torch.stack([of_weight, of_bias])
        dist.all_reduce(total)
        scale = torch.rsqrt(variance + ctx.eps)
        slope = weight * scale * scale * total[0] / number
        shift = weight * scale * total[1] / number - mean * slope
        of_rows -= torch.addcmul(shift.reshape(shape), rows, slope.reshape(shape))
        return of_rows, of_weight, of_bias, None


class Moments(NamedTuple):
    """Mean and variance of each channel over `number` values, those of all workers."""

    mean: Tensor
    variance: Tensor
    number: Tensor
    eps: float

    @classmethod
    def of(cls, rows: Tensor, eps: float) -> Moments:
        """From the moments of each worker's rows."""
        over, shape = [0, *range(2, rows.dim())], [1, -1, *[1] * (rows.dim() - 2)]
        number = rows.new_full((rows.size(1),), rows.numel() / rows.size(1))
        mean = rows.sum(over) / number  # torch.var_mean takes three times as long on a CPU
        centred = rows - mean.reshape(shape)
        variance = centred.mul_(centred).sum(over) / number
        own = torch.stack([mean, variance, number])
        found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(found, own)
        means, variances, numbers = torch.stack(found, 1)
        total = numbers.sum(0)
        mean = (means * numbers).sum(0) / total
        variance = ((variances + (means - mean) ** 2) * numbers).sum(0) / total
        return cls(mean, variance, total, eps)


# --- cutting and joining -----------------------------------------------------------------------
def row_dims(given: Sequence[Any], dim: int) -> tuple[int | None, ...] | None:
    """Along which dimension to cut each input, if that is `dim` for the first one."""
    tensors = [value for value in given if isinstance(value, Tensor) and value.dim() > 0]
    if not tensors or tensors[0].dim() <= dim:
        return None
    size = tensors[0].size(dim)
    return tuple(_dim_of_size(v, size, dim) if isinstance(v, Tensor) else None for v in given)


def _dim_of_size(tensor: Tensor, size: int, first: int) -> int | None:
    dims = sorted(range(tensor.dim()), key=lambda dim: dim != first)
    return next((dim for dim in dims if tensor.size(dim) == size), None)


def rows_of(given: Sequence[Any], inputs: Sequence[int | None]) -> Rows:
    """This worker's rows of a batch that is cut along the dimensions `inputs`."""
    return Rows.of(next(v.size(dim) for v, dim in zip(given, inputs) if dim is not None))


def own_rows(whole: Tensor, dim: int, rows: Rows) -> Tensor:
    """This worker's rows of an input. RuntimeError where it has not as many rows as the others."""
    if whole.size(dim) != rows.size:
        raise RuntimeError(f"one input has {rows.size} rows and another {whole.size(dim)}")
    if not whole.requires_grad:
        return whole.narrow(dim, rows.start, rows.many)
    part: Tensor = _Cut.apply(whole, dim, 1, rows)
    return part


def all_rows(local: Sequence[Any], outputs: Sequence[int | None], rows: Rows) -> list[Any]:
    """The outputs for the whole batch."""
    return [_join(v, dim, rows) if isinstance(v, Tensor) else v for v, dim in zip(local, outputs)]


def _join(part: Tensor, dim: int | None, rows: Rows) -> Tensor:
    if dim is None:
        return part
    joined = _Join.apply if part.requires_grad else gathered
    whole: Tensor = joined(part, dim, rows.times(part, dim), rows)
    return whole


PLAIN = (type(None), bool, int, float, str)


def out_dims(
    expected: Sequence[Any], local: Sequence[Any], rows: Rows
) -> tuple[int | None, ...] | None:
    """Along which dimension the parts make the whole; None where no one dimension does."""
    dims: list[int | None] = []
    for whole, part in zip(expected, local):
        if not isinstance(whole, Tensor) or not isinstance(part, Tensor):
            if type(whole) is not type(part) or not isinstance(whole, PLAIN) or whole != part:
                return None
            dims.append(None)
            continue
        other = [d for d, sizes in enumerate(zip(whole.shape, part.shape)) if sizes[0] != sizes[1]]
        if whole.dim() != part.dim() or len(other) > 1:
            return None
        for dim in other:
            if whole.size(dim) != rows.times(part, dim) * rows.size:
                return None
        dims.append(other[0] if other else None)
    return tuple(dims) if len(expected) == len(local) else None


# --- what depends on the whole batch ------------------------------------------------------------
class WholeBatch(TorchFunctionMode):
    """While a module computes some rows: what depends on all rows of the batch goes by all of them.

    Batch normalisation takes mean and variance over the rows of all workers, and random numbers are
    drawn for all rows, of which this worker takes its own: as if one worker computed them.
    """

    def __init__(self, rows: Rows, dim: int) -> None:
        super().__init__()
        self.rows, self.dim = rows, dim

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for functions, instead in INSTEAD:
            if func in functions:
                return instead(self, func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def whole(self, shape: Sequence[int]) -> tuple[list[int], int]:
        """The shape for the whole batch of a tensor of `shape`, and its entries for a row or 0."""
        fits = len(shape) > self.dim and shape[self.dim] % self.rows.many == 0
        times = shape[self.dim] // self.rows.many if fits else 0
        size = {self.dim: times * self.rows.size} if times else {}
        return [size.get(dim, length) for dim, length in enumerate(shape)], times

    def exact(self, shape: Sequence[int]) -> tuple[list[int], int]:
        """The same for a tensor that has one entry for a row, or else is not one of rows."""
        whole, times = self.whole(shape)
        return (whole, times) if times == 1 else (list(shape), 0)

    def own(self, whole: Tensor, times: int) -> Tensor:
        """This worker's rows of a tensor for the whole batch."""
        start, count = times * self.rows.start, times * self.rows.many
        return whole.narrow(self.dim, start, count).clone() if times else whole

    def dropout(
        self, func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        shape, times = self.whole(input.shape)
        if not times or not training or p == 0:
            plain: Tensor = func(input, p, training, inplace)
            return plain
        ones = torch.ones(shape, dtype=input.dtype, device=input.device)
        kept = self.own(func(ones, p, True, False), times)
        return input.mul_(kept) if inplace else input * kept

    def like(self, func: Any, input: Tensor, **kwargs: Any) -> Tensor:
        shape, times = self.exact(input.shape)
        return self.own(func(input.new_empty(shape), **kwargs), times)

    def new(self, func: Any, *sizes: Any, **kwargs: Any) -> Tensor:
        given = kwargs.pop("size", sizes)
        shape, times = self.exact(given if not given or isinstance(given[0], int) else given[0])
        return self.own(func(shape, **kwargs), times)

    def into(self, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape, times = self.exact(tensor.shape)
        if not times or any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
            drawn: Tensor = func(tensor, *args, **kwargs)
            return drawn
        return tensor.copy_(self.own(func(tensor.new_empty(shape), *args, **kwargs), times))

    def batch_norm(
        self,
        func: Any,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            known = running_mean, running_var, weight, bias, False, momentum, eps
            by_known: Tensor = func(input, *known)
            return by_known
        exact = input.float() if input.dtype in (torch.half, torch.bfloat16) else input
        with torch.no_grad():
            moments = Moments.of(exact, eps)
            if running_mean is not None:
                running_mean.lerp_(moments.mean.to(running_mean.dtype), momentum)
            if running_var is not None:
                unbiased = moments.variance * moments.number / (moments.number - 1)
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        gain = exact.new_ones(exact.size(1)) if weight is None else weight
        offset = exact.new_zeros(exact.size(1)) if bias is None else bias
        output: Tensor = _Normalise.apply(exact, gain.to(exact), offset.to(exact), moments)
        return output.to(input.dtype)


INSTEAD: tuple[tuple[set[Any], Callable[..., Tensor]], ...] = (
    ({F.batch_norm}, WholeBatch.batch_norm),
    ({F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}, WholeBatch.dropout),
    ({torch.rand_like, torch.randn_like}, WholeBatch.like),
    ({torch.rand, torch.randn}, WholeBatch.new),
    (
        {Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.exponential_},
        WholeBatch.into,
    ),
)
