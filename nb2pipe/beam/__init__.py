"""Steps that build Beam pipelines: where these run, and how workers get what they need."""

from nb2pipe.beam.rewrite import beamed

__all__ = ["beamed"]
