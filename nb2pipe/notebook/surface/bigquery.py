"""`%%bigquery` -> a call of the BigQuery client, line for line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import PyCell
from nb2pipe.notebook.surface.model import Magic, Python, dropped, refused
from nb2pipe.notebook.surface.text import block, expression, interpolated, quoted

_WORD = re.compile(r"""\{[^{}]*\}|\[[^\[\]]*\]|(?:"[^"]*"|'[^']*'|[^\s"'{}\[\]]|\{[^{}]*\})+""")
_FLAGS = frozenset("--verbose --use_bqstorage_api --use_rest_api --no_query_cache --use_legacy_sql --dry_run".split())
_IGNORED = frozenset("--verbose --use_bqstorage_api --use_rest_api --progress_bar_type".split())
_CONFIG = {
    "--no_query_cache": "use_query_cache=False",
    "--use_legacy_sql": "use_legacy_sql=True",
    "--maximum_bytes_billed": "maximum_bytes_billed={}",
    "--params": "query_parameters={}",
}
_TABLE = re.compile(r"[\w{}$-]+\.[\w{}$-]+")
_VALUED = frozenset(
    (
        "--project",
        "--location",
        "--max_results",
        "--progress_bar_type",
        "--maximum_bytes_billed",
        "--destination_table",
        "--engine",
        "--params",
    )
)
_TYPES = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING"}
_TYPES_AT_RUN_TIME = (
    '{"bool": "BOOL", "int": "INT64", "int64": "INT64", "float": "FLOAT64", "float64": "FLOAT64"'
    ', "str": "STRING", "bytes": "BYTES", "date": "DATE", "time": "TIME", "Decimal": "NUMERIC"}'
)
_READS_ONLY = re.compile(r"\(*\s*(select|with|from)\b|\S+\Z", re.IGNORECASE)
_COMMENTS = re.compile(r"--[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)


def bigquery(magic: Magic) -> Python:
    """`%%bigquery [NAME] [--project P] [--params $NAME] ...`: NAME is bound to the DataFrame.

    Without a name the result is only shown: a SELECT is dropped, anything that may write is kept and waited for.
    """
    words = _WORD.findall(magic.text)
    options = _options(words)
    if isinstance(options, str):
        return refused(magic, f"the option {options} is not understood", "Use `google.cloud.bigquery` in Python.")
    name = options.get("", "")
    if name and not name.isidentifier():
        return refused(magic, f"{name} is no name", "Use `google.cloud.bigquery` in Python.")
    if options.get("--engine", "pandas") != "pandas":
        return refused(magic, "its frame is one of bigframes", "Use `bigframes.pandas` in Python.")
    if "--dry_run" in options:
        return dropped(magic, "it only asks what the query would cost")
    writes = "--destination_table" in options
    if not name and not writes and _only_reads("\n".join(magic.body)):
        return dropped(magic, "its result is only shown")
    if writes and not _TABLE.fullmatch(options["--destination_table"]):
        return refused(magic, "its destination is no DATASET.TABLE", "Use `google.cloud.bigquery` in Python.")
    config = _config(options, magic)
    if config is None:
        return refused(magic, "its parameters cannot be read", "Use `google.cloud.bigquery` in Python.")
    return _call(magic, name, options, config)


def _options(words: list[str]) -> dict[str, str] | str:
    """The options by name and the name to bind under "", or the first word that is not known."""
    options: dict[str, str] = {}
    following = iter(words)
    for word in following:
        option, equals, value = word.partition("=")
        if option in _FLAGS:
            options[option] = ""
        elif option in _VALUED:
            options[option] = value if equals else next(following, "")
        elif not word.startswith("-") and "" not in options:
            options[""] = word
        else:
            return word
    return options


def _only_reads(query: str) -> bool:
    statements = [part.strip() for part in _COMMENTS.sub("", query).split(";") if part.strip()]
    return all(_READS_ONLY.match(statement) for statement in statements) and "$" not in query[:1]


def _value(text: str, magic: Magic) -> str:
    pieces = interpolated(text.strip("\"'"), magic)
    words = [piece for piece in pieces if piece.text]
    return words[0].text if len(words) == 1 and words[0].is_expression else expression(pieces)


def _number(text: str, magic: Magic) -> str:
    """A number as the magic reads it: None is 0."""
    plain = text.strip("\"'")
    return {"None": "0"}.get(plain, plain if plain.isdecimal() else f"int({_value(text, magic)})")


def _config(options: Mapping[str, str], magic: Magic) -> list[str] | None:
    """The arguments of QueryJobConfig; None when the parameters cannot be read."""
    arguments = []
    for option, template in _CONFIG.items():
        if option not in options:
            continue
        value = _parameters(options[option]) if option == "--params" else _number(options[option], magic)
        if value is None:
            return None
        arguments.append(template.format(value))
    return arguments + _destination(options, magic)


def _destination(options: Mapping[str, str], magic: Magic) -> list[str]:
    """The table that the result replaces, in the project that the query runs in."""
    if "--destination_table" not in options:
        return []
    dataset, _, table = options["--destination_table"].partition(".")
    client = f"bigquery.Client({', '.join(_client(options, magic))})"
    place = f"{client}.dataset({_value(dataset, magic)}).table({_value(table, magic)})"
    return [f"destination={place}", 'write_disposition="WRITE_TRUNCATE"']


def _client(options: Mapping[str, str], magic: Magic) -> list[str]:
    return [f"{o[2:]}={_value(options[o], magic)}" for o in ("--project", "--location") if o in options]


def _parameters(text: str) -> str | None:
    """A list of typed query parameters for a dict: a literal one, or the variable `$NAME` / `{NAME}`."""
    variable = re.fullmatch(r"\$(\w+)|\{(\w+)\}", text)
    if variable:
        return _parameters_at_run_time(variable[1] or variable[2])
    try:
        values = ast.literal_eval(text[1:-1] if text[:1] in ("'", '"') else text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    rows = [_literal(quoted(str(k)), v) for k, v in values.items()] if isinstance(values, dict) else [None]
    known = [row for row in rows if row is not None]
    return f"[{', '.join(known)}]" if len(known) == len(rows) else None


def _literal(name: str, value: object) -> str | None:
    """One query parameter with its type; None when the value has none that is certain."""
    if type(value) in _TYPES:
        return f'bigquery.ScalarQueryParameter({name}, "{_TYPES[type(value)]}", {value!r})'
    if isinstance(value, (list, tuple)) and value and len({type(v) for v in value}) == 1 and type(value[0]) in _TYPES:
        return f'bigquery.ArrayQueryParameter({name}, "{_TYPES[type(value[0])]}", {list(value)!r})'
    if isinstance(value, dict) and value:
        fields = [_literal(quoted(str(k)), v) for k, v in value.items()]
        known = [field for field in fields if field is not None]
        return f"bigquery.StructQueryParameter({name}, {', '.join(known)})" if len(known) == len(fields) else None
    return None


def _parameters_at_run_time(name: str) -> str:
    """Types as BigQuery's own magic derives them; a value of another type is a KeyError, never a wrong query."""
    scalar = f"bigquery.ScalarQueryParameter(_k, {_TYPES_AT_RUN_TIME}[type(_v).__name__], _v)"
    array = f"bigquery.ArrayQueryParameter(_k, {_TYPES_AT_RUN_TIME}[type(_v[0]).__name__], list(_v))"
    return f"[{array} if isinstance(_v, (list, tuple)) else {scalar} for _k, _v in {name}.items()]"


def _call(magic: Magic, name: str, options: Mapping[str, str], config: list[str]) -> Python:
    client = _client(options, magic)
    most = _number(options.get("--max_results", "0"), magic)
    limit = "" if most == "0" else f"max_results={most}{'' if most.isdecimal() else ' or None'}"
    if len("\n".join(magic.body).split()) == 1 and "$" not in "".join(magic.body):
        return _table(magic, name, client, limit)
    job = f", job_config=bigquery.QueryJobConfig({', '.join(config)})" if config else ""
    end = f".result({limit}).to_dataframe()" if name else f".result({limit})"
    opening = f"{name} = " if name else ""
    opening += f"bigquery.Client({', '.join(client)}).query("
    return Python(
        why="query run by the BigQuery client",
        lines=_query(magic, opening, f"{job}){end}"),
        imports=("from google.cloud import bigquery",),
        findings=(_translated(magic),),
    )


def _table(magic: Magic, name: str, client: list[str], limit: str) -> Python:
    """A cell that holds no query but the name of a table, whose rows are read."""
    table = quoted("".join(magic.body).strip())
    code = f"{name} = bigquery.Client({', '.join(client)}).list_rows({', '.join(filter(None, [table, limit]))})"
    return Python(
        why="table read by the BigQuery client",
        lines=(f"{code}.to_dataframe()", *[""] * len(magic.body)),
        imports=("from google.cloud import bigquery",),
        findings=(_translated(magic),),
    )


def _translated(magic: Magic) -> Finding:
    return magic.finding("magic-translated", f"`{magic.written}` was written as a call of the BigQuery client.")


def _query(magic: Magic, opening: str, closing: str) -> tuple[str, ...]:
    """The query as a text, or, where the cell holds only `$NAME`, that variable."""
    stripped = [line.strip() for line in magic.body if line.strip()]
    if len(stripped) == 1 and re.fullmatch(r"\$[A-Za-z_]\w*", stripped[0]):
        return (f"{opening}{stripped[0][1:]}{closing}", *[""] * len(magic.body))
    return block(opening, magic.body, closing) if magic.body else (f'{opening}""{closing}',)


# --- the magic's context ----------------------------------------------------------------------------------------------
_SETS = re.compile(
    r"^[^#\n]*\bcontext\.(project|credentials|default_query_job_config|bigquery_client_options|default_variable|engine)"
    r"\b[\w.]*\s*=(?!=)",
    re.MULTILINE,
)


def _is_query(found: Finding) -> bool:
    return (found.code, found.name) == ("magic-translated", "%%bigquery")


def without_context(cells: Iterable[PyCell]) -> list[PyCell]:
    """The cells, with an error in the first that is a query of the magic where one sets what such queries go by."""
    cells = list(cells)
    asking = next((i for i, cell in enumerate(cells) if any(_is_query(f) for f in cell.findings)), None)
    if asking is None:
        return cells
    setting = [(c, m) for c in cells if "magics" in c.text for m in _SETS.finditer(c.text)]
    if setting:
        cell, match = setting[0]
        line = cell.text.count("\n", 0, match.start()) + 1
        said = f"Cell {cell.cell.index} line {line} sets {match[1]} of the magic's context, which a step does not have."
        error = finding("magic-context", said, cell=cells[asking].cell.index, line=1, name="%%bigquery")
        cells[asking] = replace(cells[asking], findings=(*cells[asking].findings, error))
    return cells
