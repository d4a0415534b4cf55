"""The steps of the pipeline, one file each: load, prepare, train, evaluate, explain."""
