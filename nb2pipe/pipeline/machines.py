"""The machines and accelerators of Vertex AI, and which of them a step's resources ask for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]
GIBI = 2**30
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": GIBI, "Ti": 2**40}
ANY_GPU = "NVIDIA_TESLA_T4"
"""What `gpu:1` gets, which leaves the choice to us: the one that most regions have."""


class Machine(NamedTuple):
    """A machine type: its cores, its memory in GiB, and the number of accelerators that are part of it."""

    name: str
    cores: int
    memory: float
    accelerators: int = 0


def _series(name: str, memory: float, *cores: int) -> list[Machine]:
    return [Machine(f"{name}-{number}", number, number * memory) for number in cores]


PLAIN = (
    *_series("e2-standard", 4, 4, 8, 16, 32),
    *_series("e2-highmem", 8, 2, 4, 8, 16),
    *_series("n2-standard", 4, 48, 64, 80),
    *_series("n2-highmem", 8, 32, 48, 64, 80),
)
"""Machines without accelerators. The first is what Vertex AI itself takes when nothing is asked for."""

_N1 = (*_series("n1-standard", 3.75, 4, 8, 16, 32, 64, 96), *_series("n1-highmem", 6.5, 2, 4, 8, 16, 32, 64, 96))
_G2 = {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8}

ACCELERATORS: Mapping[str, tuple[Machine, ...]] = {
    **{f"NVIDIA_TESLA_{kind}": tuple(m._replace(accelerators=n) for n in counts for m in _N1) for kind, counts in {
        "T4": (1, 2, 4), "P4": (1, 2, 4), "P100": (1, 2, 4), "V100": (1, 2, 4, 8),
    }.items()},
    "NVIDIA_L4": tuple(Machine(f"g2-standard-{cores}", cores, cores * 4, n) for cores, n in _G2.items()),
    "NVIDIA_TESLA_A100": tuple(Machine(f"a2-highgpu-{n}g", 12 * n, 85 * n, n) for n in (1, 2, 4, 8)),
    "NVIDIA_A100_80GB": tuple(Machine(f"a2-ultragpu-{n}g", 12 * n, 170 * n, n) for n in (1, 2, 4, 8)),
    "NVIDIA_H100_80GB": tuple(Machine(f"a3-highgpu-{n}g", 26 * n, 234 * n, n) for n in (1, 2, 4, 8)),
    "NVIDIA_H100_MEGA_80GB": (Machine("a3-megagpu-8g", 208, 1872, 8),),
    "NVIDIA_H200_141GB": (Machine("a3-ultragpu-8g", 224, 2952, 8),),
    "NVIDIA_B200": (Machine("a4-highgpu-8g", 224, 3968, 8),),
}  # fmt: skip
"""Vertex AI's names of accelerators, and the machines that have them; those of N1 take any of the numbers given."""


def quantity(text: str) -> float:
    """A number as Kubernetes writes it; raises ValueError.

    >>> quantity("500m"), quantity("16Gi") / GIBI
    (0.5, 16.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(m|[kMGT]|[KMGT]i)?", text)
    if not found:
        raise ValueError(f"{text} is no quantity")
    unit = found[2] or ""
    return float(found[1]) * (0.001 if unit == "m" else UNITS[unit])


def accelerator(resources: Json) -> str | None:
    """Vertex AI's name of the accelerator that is asked for; one that it does not know is given as it is."""
    if not resources["accelerators"]:
        return None
    kind = resources["accelerator"] or "gpu"
    return ANY_GPU if kind == "gpu" else str(kind).upper().replace("-", "_")


def machine(resources: Json) -> Machine | None:
    """The smallest machine that has what is asked for; None where there is none."""
    kind = accelerator(resources)
    known = PLAIN if kind is None else ACCELERATORS.get(kind, ())
    cores = quantity(resources["cpu"]) if resources["cpu"] else 0
    memory = quantity(resources["memory"]) / GIBI if resources["memory"] else 0
    if kind is None and not cores and not memory:
        return PLAIN[0]
    fitting = [
        item
        for item in known
        if item.cores >= cores and item.memory >= memory and item.accelerators == resources["accelerators"]
    ]
    return min(fitting, key=lambda item: (item.cores, item.memory), default=None)


def lacking(resources: Json) -> Iterator[str]:
    """In words, what is asked for and no machine of Vertex AI has."""
    kind = accelerator(resources)
    if kind is not None and kind not in ACCELERATORS:
        yield f"the accelerator {resources['accelerator']} (known are {', '.join(sorted(ACCELERATORS))})"
    elif machine(resources) is None:
        cores = f"{math.ceil(quantity(resources['cpu']))} cores, " if resources["cpu"] else ""
        memory = f"{resources['memory']} of memory, " if resources["memory"] else ""
        gpus = f"{resources['accelerators']} {kind}, " if kind else ""
        yield f"a machine with {(cores + memory + gpus).removesuffix(', ')}"
