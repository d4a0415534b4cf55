"""The steps of the pipeline, one file each: load, clean, features, train, evaluate."""
