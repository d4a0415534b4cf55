"""Doors of other programs into nb2pipe: IPython and nbconvert. Thin: the walk is `convert.py`."""
