"""A Google REST API as its discovery document describes it: requests and answers are held to that, nothing is let by.

The documents are those that google-api-python-client ships.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

Json = dict[str, Any]


class Refused(Exception):
    """A request that the API would not take; `reason` as its error list has it."""

    def __init__(self, status: int, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


@dataclass(frozen=True)
class Call:
    """A request that fits the document: which method is meant, its path and query parameters, its body."""

    method: str
    given: Mapping[str, str]
    body: Json


class Contract:
    """The methods and messages of one API, by name and version."""

    def __init__(self, name: str) -> None:
        path = resources.files("googleapiclient") / "discovery_cache" / "documents" / f"{name}.json"
        self.document: Json = json.loads(path.read_text("utf-8"))

    @cached_property
    def _methods(self) -> list[tuple[str, re.Pattern[str], Json]]:
        found = []
        for resource in self.document["resources"].values():
            for method in resource["methods"].values():
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(method["flatPath"]))
                found.append((method["httpMethod"], re.compile(pattern), method))
        return found

    def decoded(self, verb: str, path: str, query: Mapping[str, str], body: bytes) -> Call:
        """The call that a request makes; `path` is without the API's base path. Raises Refused."""
        for http, pattern, method in self._methods:
            match = pattern.fullmatch(path)
            if http == verb and match:
                return self._call(method, match, query, body)
        raise Refused(404, f"{verb} {path} is no method of the API", "notFound")

    def _call(self, method: Json, match: re.Match[str], query: Mapping[str, str], body: bytes) -> Call:
        declared = {**self.document["parameters"], **method.get("parameters", {}), **UPLOAD}
        declared |= UNDECLARED.get(method["id"], {})
        for name, value in query.items():
            if name not in declared:
                raise Refused(400, f"{method['id']} has no parameter {name}")
            self._check(value, {**declared[name], "type": "string", "format": ""}, name)
            if declared[name]["type"] == "integer" and not value.lstrip("-").isdigit():
                raise Refused(400, f"{name} is no integer: {value}")
        message = json.loads(body) if body else {}
        if message and "request" not in method:
            raise Refused(400, f"{method['id']} takes no body")
        if message:
            self.check(message, method["request"]["$ref"])
        named = dict(zip(re.findall(r"\{\+?(\w+)\}", method["path"]), match.groups(), strict=True))
        return Call(method["id"].partition(".")[2], {**query, **named}, message)

    def check(self, value: Any, schema: str) -> None:
        """Raises Refused when `value` is no message of that name."""
        self._check(value, self.document["schemas"][schema], schema)

    def _check(self, value: Any, schema: Json, where: str) -> None:
        if "$ref" in schema:
            return self._check(value, self.document["schemas"][schema["$ref"]], where)
        kind, known = schema.get("type", "any"), schema.get("properties", {})
        if value is None or kind == "any":
            return None
        if kind == "integer" or schema.get("format") in ("int64", "uint64"):
            fits = isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None)
        else:  # the real client sends the values of FLOAT64 parameters as numbers, which the API takes
            fits = isinstance(value, KINDS[kind]) or (where.endswith("Value.value") and isinstance(value, float))
        if not fits:
            raise Refused(400, f"{where} is no {kind}: {value!r}")
        if "enum" in schema and value not in schema["enum"]:
            raise Refused(400, f"{where} is none of {schema['enum']}: {value!r}")
        for index, item in enumerate(value if kind == "array" else ()):
            self._check(item, schema["items"], f"{where}[{index}]")
        for name, item in value.items() if kind == "object" else ():
            if name not in known and "additionalProperties" not in schema:
                raise Refused(400, f"{where} has no field {name}")
            self._check(item, known.get(name) or schema["additionalProperties"], f"{where}.{name}")
        return None


UPLOAD: Mapping[str, Json] = {"uploadType": {"type": "string"}, "upload_id": {"type": "string"}}
UNDECLARED: Mapping[str, Mapping[str, Json]] = {"bigquery.jobs.get": {"projection": {"type": "string"}}}
"""What Google's own client sends although the published description does not name it (it asks so for slow queries)."""
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "array": list,
    "object": dict,
}
