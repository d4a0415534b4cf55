"""Arrays of NumPy: type, dtype, shape, then values exactly, then closely."""

from __future__ import annotations

from typing import Any

from nb2pipe.verify.compare.numbers import margin, tolerance
from nb2pipe.verify.compare.outcome import EQUAL, Outcome, Within, close, different, said, worst


def compare_arrays(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """Two arrays; the mask of masked ones counts."""
    import numpy as np

    for what in ("dtype", "shape"):
        if getattr(a, what) != getattr(b, what):
            return different(path, said(f"{what} {getattr(a, what)}"), said(f"{what} {getattr(b, what)}"))
    if isinstance(a, np.ma.MaskedArray):
        masks = compare_arrays(np.ma.getmaskarray(a), np.ma.getmaskarray(b), f"{path}.mask", within)
        return worst([masks, compare_arrays(a.filled(), b.filled(), path, within)])
    if a.dtype.names:
        return worst(compare_arrays(a[name], b[name], f"{path}[{name!r}]", within) for name in a.dtype.names)
    if a.dtype.hasobject:
        pairs = zip(np.ndindex(a.shape), a.ravel(), b.ravel(), strict=True)
        return worst(within(x, y, f"{path}{list(index)}") for index, x, y in pairs)
    return compare_values(np.asarray(a), np.asarray(b), path)


def compare_values(a: Any, b: Any, path: str) -> Outcome:
    """Two plain arrays of one dtype and shape; nan equals nan, NaT equals NaT."""
    import numpy as np

    nothing = a.dtype.kind in "fcmM"
    same = (a == b) | ((a != a) & (b != b)) if nothing else a == b
    if np.all(same):
        return EQUAL
    wrong, how_many = ~np.asarray(same), int(np.size(same) - np.count_nonzero(same))
    limit = tolerance(a.dtype.name) if a.dtype.kind in "fc" else 0.0
    if limit:
        with np.errstate(all="ignore"):
            largest = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
            apart = np.abs(a - b) <= np.maximum(limit * np.maximum(np.abs(a), np.abs(b)), margin(largest))
        if np.all(np.asarray(same) | (apart & np.isfinite(a) & np.isfinite(b))):
            return close(f"{path}: {how_many} of {np.size(a)} values differ within relative tolerance {limit:g}")
        wrong = wrong & ~(apart & np.isfinite(a) & np.isfinite(b))
    index = tuple(int(i) for i in np.argwhere(wrong)[0]) if np.ndim(a) else ()
    where = f"{path}[{', '.join(map(str, index))}]" if index else path
    found = different(where, a[index].item(), b[index].item())
    return Outcome("different", f"{found.detail} ({int(np.count_nonzero(wrong))} of {np.size(a)} values differ)")


def compare_array_scalars(a: Any, b: Any, path: str, within: Within) -> Outcome:
    """NumPy's scalars, as arrays of one value."""
    import numpy as np

    return compare_arrays(np.asarray(a), np.asarray(b), path, within)
