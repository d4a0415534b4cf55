"""The steps of the pipeline, one file each: prepare, forest, linear, compare."""
