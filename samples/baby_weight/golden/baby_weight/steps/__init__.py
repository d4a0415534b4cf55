"""The steps of the pipeline, one file each: prepare, train, evaluate, predict."""
