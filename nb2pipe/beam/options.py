"""The options of a Beam pipeline that parameters of the compiled pipeline give, by the names that Beam has for them."""

from __future__ import annotations

from nb2pipe.pipeline.options import Option

OPTIONS = (
    Option(
        "runner", "DirectRunner", "the Beam runner: DirectRunner or DataflowRunner", form="DirectRunner|DataflowRunner"
    ),
    Option("project", "", "the Google Cloud project of the Dataflow jobs"),
    Option("region", "", "the region of the Dataflow jobs"),
    Option("temp_location", "", "a gs:// folder for files that only last as long as a Dataflow job"),
    Option("staging_location", "", "a gs:// folder for the code of Dataflow jobs"),
    Option("job_name", "", "how the names of Dataflow jobs begin; each gets an ending of its own"),
    Option("num_workers", 0, "how many workers a Dataflow job begins with", least=0),
    Option("max_num_workers", 0, "how many workers a Dataflow job may have", least=0),
    Option("machine_type", "", "the machines of Dataflow's workers"),
)
