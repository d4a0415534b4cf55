"""The steps of the pipeline, one file each: load, split, train, evaluate, report."""
