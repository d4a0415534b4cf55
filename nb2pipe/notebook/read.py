"""A file on disk -> Notebook: strict about form, deaf to outputs. The only place that knows nbformat and jupytext."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from nb2pipe.findings import Finding, NotebookError, finding
from nb2pipe.notebook.model import Cell, CellKind, Notebook
from nb2pipe.notebook.vocabulary import parse_tags, title_tags

MAJOR_VERSIONS = (3, 4)
_OTHER_KERNELS = re.compile(
    r"(ir|julia|scala|spylon|apache_toree|javascript|deno|tslab|bash|sos|octave|matlab|ruby|rust|evcxr|gophernotes|java"
    r"|kotlin|haskell|ihaskell|perl|sas|sql|xsql|xcpp\d*|\.net-\w+|clojure|lua|ocaml|sagemath|sparkmagic|sparkkernel)"
    r"\b.*",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"^# ?%%", re.MULTILINE)
_KINDS = ("code", "markdown", "raw")


def read(path: str | Path) -> Notebook:
    """The notebook in an `.ipynb` file (nbformat 3 or 4) or a `.py` script (py:percent; otherwise one cell).

    Raises NotebookError, with one finding for each thing that is wrong, when the file is missing, unreadable, not a
    notebook, malformed, or not Python 3. Cell outputs are neither looked at nor kept.
    """
    return parsed(str(path), _text(Path(path)))


def parsed(path: str, text: str) -> Notebook:
    """The notebook whose file at `path` has this text; otherwise as `read`."""
    return _notebook(path, _script(text) if Path(path).suffix == ".py" else _json(text))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON of an `.ipynb` file as nbformat 4, its cells not yet looked at. Raises NotebookError."""
    return _json(_text(path))


def _fail(code: str, message: str, **where: Any) -> NotebookError:
    return NotebookError([finding(code, message, **where)])


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fail("not-a-notebook", f"{path} is not UTF-8 text (byte {error.start}).") from None
    except IsADirectoryError:
        raise _fail("unreadable-file", f"{path} is a folder, not a notebook.") from None
    except FileNotFoundError:
        raise _fail("unreadable-file", f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _fail("unreadable-file", f"{str(path)!r} cannot be read: {reason}.") from None


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except RecursionError:
        raise _fail("not-a-notebook", "The file's JSON is nested too deeply.") from None
    except ValueError as error:
        raise _fail("not-a-notebook", f"The file is not JSON: {error}.") from None
    if not isinstance(data, dict) or not {"cells", "worksheets"} & data.keys():
        raise _fail("not-a-notebook", "The file is JSON, but not a notebook: it has no list of cells.")
    return _version_4(data)


def _version_4(data: dict[str, Any]) -> dict[str, Any]:
    major = data.get("nbformat")
    if isinstance(major, bool) or major not in MAJOR_VERSIONS:
        shown = "is missing" if major is None else f"is {major!r}"
        raise _fail("unknown-nbformat", f"The notebook's `nbformat` {shown}; 3 and 4 can be read.")
    return _upgraded(data) if major == 3 else data


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    import nbformat
    from nbformat.v3 import nbjson

    try:
        upgraded = nbformat.convert(nbjson.JSONReader().to_notebook(data), 4)
    except Exception as error:  # nbformat lets AttributeError, KeyError, TypeError ... through
        raise _fail("malformed-notebook", f"The nbformat 3 notebook cannot be upgraded: {error!r}.") from None
    for cell in upgraded.get("cells", []):
        cell.pop("id", None)  # made at random by the upgrade
    return cast("dict[str, Any]", upgraded)


def _script(text: str) -> dict[str, Any]:
    if not _PERCENT.search(text):
        return {"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "metadata": {}, "source": text}]}
    import jupytext

    try:
        data = jupytext.reads(text, fmt={"extension": ".py", "format_name": "percent"})
    except Exception as error:  # whatever its YAML header or cell parser raises
        raise _fail("not-a-notebook", f"The script is not a py:percent notebook: {error!r}.") from None
    for cell in data["cells"]:
        cell.pop("id", None)
        title = cell["metadata"].get("title")
        cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), *title_tags(title)]
    return cast("dict[str, Any]", data)


def _notebook(path: str, data: Mapping[str, Any]) -> Notebook:
    problems: list[Finding] = []
    metadata = data.get("metadata", {})
    if not isinstance(metadata, dict):
        problems.append(finding("malformed-notebook", "The notebook's metadata is not an object."))
        metadata = {}
    problems += _language_problems(metadata)
    raw = data.get("cells")
    if not isinstance(raw, list):
        raise _fail("not-a-notebook", "The notebook's `cells` is not a list.")
    for index, cell in enumerate(raw):
        problems += _cell_problems(index, cell)
    problems += _duplicate_ids(raw)
    if problems:
        raise NotebookError(problems)
    return Notebook(path, tuple(_cells(raw)), metadata)


def _language_problems(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    kernel, info = _mapping(metadata.get("kernelspec")), _mapping(metadata.get("language_info"))
    name = str(kernel.get("name") or "")
    language = str(info.get("name") or kernel.get("language") or "").lower()
    if (language and not language.startswith(("python", "ipython"))) or (
        not language and _OTHER_KERNELS.fullmatch(name)
    ):
        shown = language or name
        yield finding("other-language", f"The notebook is written for the kernel {shown!r}, not for Python.")
    elif name.lower() == "python2" or language == "python2" or str(info.get("version") or "").startswith("2."):
        yield finding("other-language", "The notebook is written for Python 2.", hint="Port it to Python 3 first.")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell_problems(index: int, cell: object) -> Iterator[Finding]:
    def problem(message: str) -> Finding:
        return finding("malformed-notebook", f"Cell {index}: {message}", cell=index)

    if not isinstance(cell, dict):
        yield problem("is not an object.")
        return
    if cell.get("cell_type") not in _KINDS:
        yield problem(f"the cell type {cell.get('cell_type')!r} is not one of {', '.join(_KINDS)}.")
    if (reason := _source_problem(cell.get("source"))) is not None:
        yield problem(reason)
    if "id" in cell and (not isinstance(cell["id"], str) or not cell["id"] or not _encodable(cell["id"])):
        yield problem("its id is not a text.")
    if not isinstance(cell.get("metadata", {}), dict):
        yield problem("its metadata is not an object.")
    else:
        for reason in _tag_problems(cell.get("metadata", {}).get("tags", [])):
            yield problem(reason)


def _source_problem(source: object) -> str | None:
    if not isinstance(source, str):
        if not isinstance(source, list) or not all(isinstance(line, str) for line in source):
            return "its source is neither a text nor a list of texts."
        source = "".join(source)
    if "\0" in source:
        return f"its source holds a NUL character (line {source[: source.index(chr(0))].count(chr(10)) + 1})."
    return None if _encodable(source) else "its source holds a lone surrogate, which is not text."


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _tag_problems(tags: object) -> Iterator[str]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        yield f"its tags are not a list of texts but {_shown(tags)}."
        return
    for tag in tags:
        if not tag.strip() or "," in tag or not _encodable(tag) or "\0" in tag:
            yield f"the tag {_shown(tag)} is not allowed: a tag is a text without commas, and not empty."


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _duplicate_ids(raw: list[Any]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, cell in enumerate(raw):
        name = cell.get("id") if isinstance(cell, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            yield finding(
                "malformed-notebook",
                f"Cells {first[name]} and {index} have the same id {_shown(name)}.",
                cell=index,
                hint="Give each cell its own id: open the notebook in Jupyter and save it.",
            )


def _cells(raw: list[dict[str, Any]]) -> Iterator[Cell]:
    taken = {cell["id"] for cell in raw if "id" in cell}
    for index, cell in enumerate(raw):
        source = _joined(cell["source"])
        count = cell.get("execution_count")
        yield Cell(
            index=index,
            id=cell["id"] if "id" in cell else _made_id(source, taken),
            kind=cast(CellKind, cell["cell_type"]),
            source=source,
            tags=parse_tags(cell.get("metadata", {}).get("tags", ()), source if cell["cell_type"] == "code" else ""),
            execution_count=count if isinstance(count, int) else None,
        )


def _joined(source: str | list[str]) -> str:
    """One text; `\\r` is a line end for Python's tokenizer too, so nothing changes but the count of lines."""
    text = source if isinstance(source, str) else "".join(source)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _made_id(source: str, taken: set[str]) -> str:
    """An id from the content, so that reading twice gives the same; equal cells are numbered."""
    base = hashlib.sha256(source.encode()).hexdigest()[:8]
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return name
