"""The options of a Beam pipeline that parameters of the compiled pipeline give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nb2pipe.notebook.model import Parameter
from nb2pipe.pipeline.graph import unique


@dataclass(frozen=True, slots=True)
class Option:
    """An option by the name that Beam has for it; an empty default leaves it to the notebook and to Dataflow."""

    name: str
    default: str | int
    meaning: str


OPTIONS = (
    Option("runner", "DirectRunner", "the Beam runner: DirectRunner or DataflowRunner"),
    Option("project", "", "the Google Cloud project of the Dataflow jobs"),
    Option("region", "", "the region of the Dataflow jobs"),
    Option("temp_location", "", "a gs:// folder for files that only last as long as a Dataflow job"),
    Option("staging_location", "", "a gs:// folder for the code of Dataflow jobs"),
    Option("job_name", "", "how the names of Dataflow jobs begin; each gets an ending of its own"),
    Option("num_workers", 0, "how many workers a Dataflow job begins with"),
    Option("max_num_workers", 0, "how many workers a Dataflow job may have"),
    Option("machine_type", "", "the machines of Dataflow's workers"),
)


def option_parameters(taken: Sequence[Parameter], cell: int) -> dict[str, Parameter]:
    """The parameter of each option: `beam_NAME`, or with a number behind where the notebook has such a parameter."""
    names = [parameter.name for parameter in taken]
    return {
        option.name: Parameter(
            name=unique(f"beam_{option.name}", names),
            type=type(option.default).__name__,
            default=option.default,
            source=repr(option.default),
            cell=cell,
            line=1,
            help=option.meaning,
        )
        for option in OPTIONS
    }
