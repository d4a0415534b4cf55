"""The options that say where a platform is, for the commands that talk to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nb2pipe.targets.submission import KfpPlace, VertexPlace

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
KFP = (
    click.option("--host", envvar="KF_PIPELINES_ENDPOINT", help="kfp: the URL of the Pipelines API."),
    click.option("--namespace", help="kfp: the Kubernetes namespace (your profile's, where there are several)."),
    click.option("--token", envvar="KFP_TOKEN", help="kfp: a bearer token; better in the environment: KFP_TOKEN."),
    click.option(
        "--token-file", envvar="KFP_TOKEN_FILE", type=FILE, help="kfp: a file with a token, read anew each time."
    ),
    click.option("--ui", envvar="KF_PIPELINES_UI_ENDPOINT", help="kfp: the URL of the console, if not the API's."),
    click.option("--ca", envvar="KFP_CA", type=FILE, help="kfp: a file with the certificate that signs the server's."),
)
VERTEX = (
    click.option("--project", envvar="GOOGLE_CLOUD_PROJECT", help="vertex: the project's id."),
    click.option("--region", envvar="GOOGLE_CLOUD_REGION", help="vertex: the region, such as europe-west4."),
)
FIELDS = {
    "kfp": ("host", "namespace", "token", "token_file", "ui", "ca"),
    "vertex": ("project", "region", "network", "cmek", "failure_policy"),
}


def places(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every platform's place; the command gets them as `words`, which `places_of` reads."""
    for option in reversed((*KFP, *VERTEX)):
        command = option(command)
    return command


def places_of(words: dict[str, Any]) -> dict[str, Any]:
    """The fields `kfp` and `vertex` of SubmitOptions, from the words of the command line."""
    kinds = {"kfp": KfpPlace, "vertex": VertexPlace}
    return {name: kinds[name](**{key: words.get(key) for key in keys}) for name, keys in FIELDS.items()}
