"""`jupyter nbconvert --to nb2pipe NB`: the compiled pipeline as nbconvert's output, and the project beside it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
from nbconvert.exporters import Exporter
from nbconvert.utils.exceptions import ConversionException
from traitlets import Unicode, default

from nb2pipe.commands.speech import rendered
from nb2pipe.convert import Conversion
from nb2pipe.findings import Nb2pipeError, errors


class Nb2pipeExporter(Exporter):  # type: ignore[misc]
    """Converts as `nb2pipe convert` does: the project is merged with what people changed in it."""

    export_from_notebook = "Pipeline (nb2pipe)"
    output_mimetype = "application/yaml"
    target = Unicode("", help="What to compile for: kfp or vertex; the notebook's settings unless given.").tag(
        config=True
    )

    @default("file_extension")  # type: ignore[untyped-decorator]
    def _file_extension_default(self) -> str:
        return ".yaml"

    def from_notebook_node(self, nb: Any, resources: Any = None, **kw: Any) -> tuple[str, Any]:
        """The text of the compiled pipeline. Raises ConversionException with the findings of a refused notebook."""
        nb_copy, resources = super().from_notebook_node(nb, resources, **kw)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                return self._pipeline(_file(nb_copy, resources, Path(scratch)), Path(scratch)), resources
            except Nb2pipeError as error:
                raise ConversionException(_said(error, nb_copy)) from error

    def _pipeline(self, notebook: Path, scratch: Path) -> str:
        """Convert; the project lies beside nbconvert's output, or is thrown away when that is not a file."""
        conversion = Conversion(notebook, {"target": self.target or None})
        folder = scratch if self._only_shown() or scratch in notebook.parents else self._build_folder(notebook)
        converted = conversion.convert(folder / conversion.pipeline.name)
        if converted.written.conflicts:
            raise Nb2pipeError(converted.written.findings)
        assert converted.pipeline is not None
        return converted.pipeline.read_text(encoding="utf-8")

    def _only_shown(self) -> bool:
        return "Stdout" in str(self.config.NbConvertApp.get("writer_class", ""))

    def _build_folder(self, notebook: Path) -> Path:
        wanted = self.config.FilesWriter.get("build_directory", "") or self.config.NbConvertApp.get("output_dir", "")
        return Path(wanted) if wanted else notebook.parent


def _said(error: Nb2pipeError, nb: Any) -> str:
    """The errors, as `nb2pipe convert` says them, without colour."""
    sources = [cell.source for cell in nb.cells]
    return "\n".join(["", *(click.unstyle(rendered(found, sources)) for found in errors(error.findings))])


def _file(nb: Any, resources: Any, scratch: Path) -> Path:
    """The notebook's file: its settings and data lie beside it. What was piped in gets a file for the time being."""
    about = resources.get("metadata", {})
    for suffix in (".ipynb", ".py"):
        path = Path(about.get("path") or ".", about.get("name", "") + suffix)
        if path.is_file():
            return path
    path = scratch / f"{about.get('name') or 'notebook'}.ipynb"
    path.write_text(json.dumps(nb), encoding="utf-8")
    return path
