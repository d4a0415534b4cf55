"""The fixtures of small generated projects."""

from small_project import fares, make_project  # noqa: F401
