"""BigQuery's SQL run by DuckDB: translated by sqlglot, typed query parameters bound, never pasted."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import sqlglot
from rest_contract import Json, Refused
from sqlglot import exp

TYPES = {
    "bigint": "INTEGER", "integer": "INTEGER", "hugeint": "INTEGER", "double": "FLOAT", "float": "FLOAT",
    "varchar": "STRING", "boolean": "BOOLEAN", "date": "DATE", "time": "TIME", "blob": "BYTES", "decimal": "NUMERIC",
    "timestamp with time zone": "TIMESTAMP", "timestamp": "DATETIME", "timestamp_ns": "DATETIME", "struct": "RECORD",
}  # fmt: skip
"""DuckDB's types as BigQuery's schemas name them."""

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

READERS = {
    "INT64": int, "INTEGER": int, "FLOAT64": float, "FLOAT": float, "STRING": str, "NUMERIC": decimal.Decimal,
    "BOOL": lambda text: {"true": True, "false": False}[text], "DATE": dt.date.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat, "DATETIME": dt.datetime.fromisoformat, "TIME": dt.time.fromisoformat,
    "BYTES": base64.b64decode,
}  # fmt: skip
"""How the text of a parameter's value is read, by its type."""

IN_DUCKDB = {"INT64": "BIGINT", "INTEGER": "BIGINT", "FLOAT64": "DOUBLE", "FLOAT": "DOUBLE", "STRING": "VARCHAR",
             "NUMERIC": "DECIMAL(38, 9)", "BOOL": "BOOLEAN", "DATE": "DATE", "TIME": "TIME", "BYTES": "BLOB",
             "TIMESTAMP": "TIMESTAMP WITH TIME ZONE", "DATETIME": "TIMESTAMP"}  # fmt: skip


@dataclass
class Result:
    """What a query gave: a schema and rows in BigQuery's terms.

    `kind` is its statement type, `tables` are whole names.
    """

    kind: str = "SELECT"
    schema: list[Json] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    affected: int | None = None
    tables: list[tuple[str, ...]] = field(default_factory=list)


class Sql:
    """The tables of all projects: a project is a DuckDB database, a dataset a schema in it."""

    def __init__(self) -> None:
        self._db = duckdb.connect()
        self._projects: set[str] = set()

    def close(self) -> None:
        """Free everything."""
        self._db.close()

    def project(self, name: str) -> None:
        """Make a project."""
        self._db.execute(f"ATTACH IF NOT EXISTS ':memory:' AS \"{name}\"")
        self._projects.add(name)

    def run(self, text: str, parameters: Sequence[Json], project: str, dataset: str | None, cursor: int = 0) -> Result:
        """Run a script; what its last statement gave. Raises Refused."""
        try:
            statements = [s for s in sqlglot.parse(text, read="bigquery") if s is not None]
        except sqlglot.errors.ParseError as error:
            raise Refused(400, f"Syntax error: {error}", "invalidQuery") from None
        if not statements:
            raise Refused(400, "Query is empty", "invalidQuery")
        result = Result()
        for statement in statements:
            result = self._one(statement, parameters, project, dataset)
        return result

    def described(self, text: str, parameters: Sequence[Json], project: str, dataset: str | None) -> Result:
        """What a dry run says of one query: its tables, or that it is wrong. Raises Refused."""
        statement = sqlglot.parse_one(text, read="bigquery")
        self._qualify(statement, project, dataset)
        tables = [tuple(part.name for part in table.parts) for table in statement.find_all(exp.Table)]
        bound, values = _bound(statement, parameters)
        try:
            self._db.execute(f"EXPLAIN {bound.sql(dialect='duckdb')}", values or None)
        except duckdb.Error as error:
            raise Refused(400, str(error), "invalidQuery") from None
        return Result("SELECT", tables=[table for table in tables if len(table) == 3])

    def _one(self, statement: exp.Expression, parameters: Sequence[Json], project: str, dataset: str | None) -> Result:
        self._qualify(statement, project, dataset)
        bound, values = _bound(statement, parameters)
        sql = bound.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
        try:
            done = self._db.execute(sql, values) if values else self._db.execute(sql)
            rows = done.fetchall()
        except duckdb.Error as error:
            missing = re.search(r"(Table|Schema) with name|does not exist", str(error))
            reason = ("notFound", 404) if missing else ("invalidQuery", 400)
            raise Refused(reason[1], f"{error} [in {sql}]", reason[0]) from None
        if isinstance(bound, exp.Query):
            schema = [column(name, kind) for name, kind, *_ in done.description or ()]
            return Result("SELECT", schema, rows)
        kind = type(bound).__name__.upper()
        if kind == "CREATE":
            selects = "_AS_SELECT" if bound.expression else ""
            return Result(f"CREATE_{bound.args['kind']}{selects}")
        return Result(kind, affected=rows[0][0] if kind in ("INSERT", "UPDATE", "DELETE") and rows else None)

    def _qualify(self, statement: exp.Expression, project: str, dataset: str | None) -> None:
        """Whole names for all tables; a default dataset is needed where a table has none, as in BigQuery."""
        common = {cte.alias for cte in statement.find_all(exp.CTE)}
        for table in list(statement.find_all(exp.Table)):
            if table.name in common and not table.db:
                continue
            parts = [part.name for part in table.parts]
            if isinstance(statement, exp.Create) and statement.args["kind"] == "SCHEMA":
                parts = [*parts, ""] if len(parts) == 2 else [project, *parts, ""]
            elif len(parts) == 1 and dataset is None and not isinstance(table.this, exp.Func):
                raise Refused(400, f'Table "{parts[0]}" must be qualified with a dataset (e.g. dataset.table).')
            whole = [project, dataset, *parts][-3:] if len(parts) < 3 else parts
            whole = [project, *parts] if len(parts) == 2 else whole
            if whole[0] not in self._projects:
                raise Refused(404, f"Not found: Project {whole[0]}", "notFound")
            names = [exp.to_identifier(name, quoted=True) for name in whole if name]
            if len(names) == 2:
                table.set("this", names[1]), table.set("db", names[0]), table.set("catalog", None)
            else:
                table.set("this", names[2]), table.set("db", names[1]), table.set("catalog", names[0])

    # --- tables -------------------------------------------------------------------------------------------------------
    def make_dataset(self, project: str, dataset: str) -> None:
        self._db.execute(f'CREATE SCHEMA "{project}"."{dataset}"')

    def has_dataset(self, project: str, dataset: str) -> bool:
        return bool(self._ask("schemata WHERE catalog_name = ? AND schema_name = ?", project, dataset))

    def datasets(self, project: str) -> set[str]:
        """The names of all datasets."""
        rows = self._ask("schemata WHERE catalog_name = ?", project)
        return {row[1] for row in rows}

    def columns(self, project: str, dataset: str, table: str) -> list[Json]:
        """The schema of a table; empty when there is none."""
        where = "columns WHERE table_catalog = ? AND table_schema = ? AND table_name = ? ORDER BY ordinal_position"
        return [column(name, duckdb.sqltype(kind)) for name, kind in self._ask(where, project, dataset, table)]

    def _ask(self, what: str, *values: str) -> list[Any]:
        wanted = "column_name, data_type" if what.startswith("columns") else "*"
        return self._db.execute(f"SELECT {wanted} FROM information_schema.{what}", values).fetchall()

    def rows(self, project: str, dataset: str, table: str) -> list[tuple[Any, ...]]:
        return self._db.execute(f'SELECT * FROM "{project}"."{dataset}"."{table}"').fetchall()

    def make_table(self, project: str, dataset: str, table: str, schema: Iterable[Json]) -> None:
        columns = ", ".join(f'"{f["name"]}" {IN_DUCKDB[f["type"]]}' for f in schema)
        self._db.execute(f'CREATE TABLE "{project}"."{dataset}"."{table}" ({columns})')

    def drop_table(self, project: str, dataset: str, table: str) -> None:
        self._db.execute(f'DROP TABLE "{project}"."{dataset}"."{table}"')

    def drop_dataset(self, project: str, dataset: str, contents: bool) -> None:
        try:
            self._db.execute(f'DROP SCHEMA "{project}"."{dataset}" {"CASCADE" if contents else ""}')
        except duckdb.Error:
            raise Refused(400, f"Dataset {project}:{dataset} is still in use", "resourceInUse") from None

    def load(
        self,
        path: str,
        reader: str,
        place: tuple[str, str, str],
        disposition: str,
        schema: Iterable[Json] | None = None,
    ) -> int:
        """Load a file into a table as WRITE_TRUNCATE, WRITE_APPEND or WRITE_EMPTY say; how many rows."""
        if schema is not None:
            columns = ", ".join(f"'{f['name']}': '{IN_DUCKDB[f['type']]}'" for f in schema)
            source = f"{reader}(?, format = 'newline_delimited', columns = {{{columns}}})"
        else:
            source = f"{reader}(?)"
        name = ".".join(f'"{part}"' for part in place)
        there = bool(self.columns(*place))
        if there and disposition == "WRITE_EMPTY" and self.rows(*place):
            raise Refused(409, f"Already Exists: Table {name}", "duplicate")
        if there and disposition != "WRITE_TRUNCATE":
            self._db.execute(f"INSERT INTO {name} BY NAME SELECT * FROM {source}", [path])
        else:
            self._db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {source}", [path])
        return int(self._db.execute(f"SELECT count(*) FROM {source}", [path]).fetchone()[0])  # type: ignore[index]


def column(name: str, kind: Any) -> Json:
    """A field of a schema for a DuckDB type."""
    if kind.id == "list":
        return {**column(name, kind.children[0][1]), "mode": "REPEATED"}
    if kind.id not in TYPES:
        raise Refused(400, f"column {name}: the type {kind} is not had here")
    inner = {"fields": [column(*child) for child in kind.children]} if kind.id == "struct" else {}
    return {"name": name, "type": TYPES[kind.id], "mode": "NULLABLE", **inner}


def cell(value: Any, field: Json) -> Any:
    """A value as BigQuery's JSON has it: texts, lists and rows of them."""
    kind = field["type"]
    if field["mode"] == "REPEATED":
        return [{"v": cell(one, {**field, "mode": "NULLABLE"})} for one in value or ()]
    if value is None:
        return None
    if kind == "RECORD":
        return {"f": [{"v": cell(value[inner["name"]], inner)} for inner in field["fields"]]}
    return WRITERS.get(kind, str)(value)


WRITERS: Mapping[str, Callable[[Any], str]] = {
    "BOOLEAN": lambda value: "true" if value else "false",
    "FLOAT": repr,
    "TIMESTAMP": lambda value: str(round((value - EPOCH) / dt.timedelta(microseconds=1))),
    "DATETIME": dt.datetime.isoformat,
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "NUMERIC": lambda value: format(value.normalize(), "f"),
}
"""How values are written, by the type of their column, where that is not their text."""


def _bound(statement: exp.Expression, parameters: Sequence[Json]) -> tuple[exp.Expression, dict[str, Any]]:
    """The statement with a typed placeholder for each parameter that it names, and their values."""
    named = {row["name"]: row for row in parameters if row.get("name")}
    placed = iter([row for row in parameters if not row.get("name")])
    values: dict[str, Any] = {}

    def put(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Literal) and not node.is_string and not node.this.isdigit():
            return exp.cast(node.copy(), "DOUBLE") if not isinstance(node.parent, exp.Cast) else node
        if isinstance(node, exp.Parameter):
            row = named.get(node.name) or next((r for n, r in named.items() if n.lower() == node.name.lower()), None)
            if row is None:
                raise Refused(400, f"Query parameter '{node.name}' not found", "invalidQuery")
            return _typed(node.name, row, values)
        if isinstance(node, exp.Placeholder) and not node.this:
            row = next(placed, None)
            if row is None:
                raise Refused(400, "Query parameter at position not found", "invalidQuery")
            return _typed(f"p{len(values)}", row, values)
        return node

    return statement.transform(put), values


def _typed(name: str, row: Json, values: dict[str, Any]) -> exp.Expression:
    kind, value = row["parameterType"], row["parameterValue"]
    read, in_duckdb = _read(kind, value, name)
    values[name] = read
    return sqlglot.parse_one(f"CAST(${name} AS {in_duckdb})", read="duckdb")


def _read(kind: Json, value: Json, name: str) -> tuple[Any, str]:
    if kind["type"] == "ARRAY":
        inner = kind["arrayType"]
        read = [_read(inner, one, name) for one in value.get("arrayValues", ())]
        return [one for one, _ in read], f"{IN_DUCKDB[inner['type']]}[]"
    if kind["type"] == "STRUCT":
        fields = {f["name"]: _read(f["type"], value["structValues"][f["name"]], name) for f in kind["structTypes"]}
        declared = ", ".join(f'"{n}" {type_}' for n, (_, type_) in fields.items())
        return {n: one for n, (one, _) in fields.items()}, f"STRUCT({declared})"
    if kind["type"] not in READERS:
        raise Refused(400, f"parameter {name}: the type {kind['type']} is not had here")
    text = value.get("value")
    try:
        return (None if text is None else READERS[kind["type"]](text)), IN_DUCKDB[kind["type"]]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, f"Invalid value for type {kind['type']}: {text!r}", "invalid") from None
