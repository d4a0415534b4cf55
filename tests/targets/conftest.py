"""The fixtures of small generated projects, and of one that is submitted to Vertex AI."""

from small_project import fares, make_project  # noqa: F401
from vertex_place import events, storage, submit, vertex, vertex_home  # noqa: F401
