"""Parameters of the pipeline beside the notebook's own: what a run may say to the libraries that steps use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nb2pipe.notebook.model import Parameter
from nb2pipe.pipeline.graph import unique


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that a run may say. Its default, empty or 0, leaves it to the notebook and to the library.

    `least` and `form` are the bounds of its parameter.
    """

    name: str
    default: str | int
    meaning: str
    least: int | None = None
    form: str | None = None


def option_parameters(
    library: str, options: Sequence[Option], taken: Sequence[Parameter], cell: int
) -> dict[str, Parameter]:
    """The parameter of each option: `LIBRARY_NAME`, or with a number behind where the notebook has such a parameter."""
    names = [parameter.name for parameter in taken]
    return {
        option.name: Parameter(
            name=unique(f"{library}_{option.name}", names),
            type=type(option.default).__name__,
            default=option.default,
            source=repr(option.default),
            cell=cell,
            line=1,
            help=option.meaning,
            least=option.least,
            form=option.form,
            option=True,
        )
        for option in options
    }
