"""A BigQuery on loopback, for the real clients: every request and answer is held to the API's discovery document.

Queries are run by DuckDB with their typed parameters bound. Credentials are those of a service account, whose signed
request for a token is verified. What is not had here is refused, never let by. It proves nothing of BigQuery's own
functions beyond what sqlglot translates, of permissions, quotas and the Storage Read API.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bigquery_files import Bucket, avro
from bigquery_sql import Result, Sql, cell
from loopback import Loopback
from rest_contract import Call, Contract, Json, Refused

BASE = "/bigquery/v2/"
PAGE = 50_000
ANONYMOUS = "_4f2c6e"
AUDIENCE = "https://oauth2.googleapis.com/token"
READERS = {"PARQUET": "read_parquet", "CSV": "read_csv", "NEWLINE_DELIMITED_JSON": "read_json"}


class FakeBigQuery:
    """The server, with one project, and with Cloud Storage at the URL `storage`.

    `queries` are the texts that were run, `calls` the methods, in order.
    """

    def __init__(self, folder: Path, project: str = "test-project", storage: str | None = None) -> None:
        self.project, self.sql, self.contract = project, Sql(), Contract("bigquery.v2")
        self.sql.project(project)
        self.queries: list[str] = []
        self.calls: list[Call] = []
        self.errors: list[str] = []
        self._jobs: dict[str, tuple[Json, Result]] = {}
        self._uploads: dict[str, Json] = {}
        self._changed: dict[str, int] = {}
        self._lock = threading.Lock()
        self.bucket = Bucket(storage) if storage else None
        self._http = Loopback(_handler(self))
        self.url = self._http.url
        self.credentials = folder / "credentials.json"
        self.token = f"token-{uuid.uuid4().hex}"
        self.key, self.public = _key()
        self._write_credentials()

    def _write_credentials(self) -> None:
        email = f"tests@{self.project}.iam.gserviceaccount.com"
        described = {
            "type": "service_account", "project_id": self.project, "private_key_id": "1", "private_key": self.key,
            "client_email": email, "client_id": "1", "token_uri": f"{self.url}/token",
        }  # fmt: skip
        self.credentials.write_text(json.dumps(described))

    @contextmanager
    def running(self) -> Iterator[FakeBigQuery]:
        try:
            with self._http.serving():
                yield self
        finally:
            self.sql.close()
            if self.bucket:
                self.bucket.close()

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment to find this server and log in."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
            "NO_PROXY": "127.0.0.1",
        }

    # --- requests -----------------------------------------------------------------------------------------------------
    def grant(self, body: bytes) -> Json:
        """A token for a request that the service account signed."""
        from google.auth import jwt

        try:
            claims = jwt.decode(parse_qs(body.decode())["assertion"][0], certs=self.public, audience=AUDIENCE)
        except ValueError as error:
            raise Refused(400, f"invalid_grant: {error}") from None
        if claims["iss"] != json.loads(self.credentials.read_text())["client_email"]:
            raise Refused(401, f"{claims['iss']} is not known")
        return {"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"}

    def answer(self, verb: str, path: str, query: Mapping[str, str], body: bytes) -> Json:
        """The message for a request. Raises Refused."""
        call = self.contract.decoded(verb, path.removeprefix(BASE), query, body)
        handler = HANDLERS.get(call.method)
        if handler is None:
            raise Refused(501, f"{call.method} is not had here", "notImplemented")
        if call.given.get("projectId") != self.project:
            raise Refused(404, f"Not found: Project {call.given.get('projectId')}", "notFound")
        with self._lock:
            self.calls.append(call)
            message: Json = handler(self, call)
        schema = self.contract.document["resources"]
        resource, _, method = call.method.partition(".")
        response = schema[resource]["methods"][method].get("response")
        if response:
            self.contract.check(message, response["$ref"])
        return message

    # --- queries ------------------------------------------------------------------------------------------------------
    def _run(self, text: str, parameters: list[Json], default: Json | None) -> Result:
        self.queries.append(text)
        result = self.sql.run(text, parameters, *self._default(default))
        if result.kind != "SELECT":
            self._touch_all()
        return result

    def _default(self, default: Json | None) -> tuple[str, str | None]:
        """The project and the dataset of tables that are named without."""
        named = default or {}
        return named.get("projectId") or self.project, named.get("datasetId")

    def _touch_all(self) -> None:
        self._changed["*"] = time.time_ns() // 1_000_000

    def query(self, call: Call) -> Json:
        """jobs.query"""
        body = call.body
        if body.get("useLegacySql") is not False:
            raise Refused(400, "legacy SQL is not had here")
        if body.get("dryRun"):
            raise Refused(501, "dry runs of jobs.query are not had here", "notImplemented")
        self._modes(body)
        result = self._run(body["query"], body.get("queryParameters", []), body.get("defaultDataset"))
        job = self._keep({"query": {"query": body["query"], "useLegacySql": False}}, result)
        return {"kind": "bigquery#queryResponse", **self._page(job, result, body.get("maxResults"))}

    def insert(self, call: Call) -> Json:
        """jobs.insert"""
        configuration, reference = call.body["configuration"], call.body.get("jobReference")
        kinds = {"query": self._query_job, "load": self._load_job, "extract": self._extract_job}
        kind = next((kind for kind in kinds if kind in configuration), None)
        if kind is None:
            raise Refused(501, f"there are no such jobs here: {sorted(configuration)}")
        result = kinds[kind](configuration[kind], bool(configuration.get("dryRun")))
        if configuration.get("dryRun"):
            return self._described(configuration, {"projectId": self.project, "location": "US"}, result)
        return self._job(self._keep(configuration, result, reference))

    def _query_job(self, asked: Json, dry: bool) -> Result:
        if asked.get("useLegacySql") is not False:
            raise Refused(400, "legacy SQL is not had here")
        self._modes(asked)
        text, parameters, default = asked["query"], asked.get("queryParameters", []), asked.get("defaultDataset")
        if dry:
            return self.sql.described(text, parameters, *self._default(default))
        if "destinationTable" not in asked:
            return self._run(text, parameters, default)
        place = _place(asked["destinationTable"])
        name, disposition = ".".join(place), asked.get("writeDisposition", "WRITE_EMPTY")
        full = self.sql.columns(*place) and self.sql.rows(*place)
        if disposition not in ("WRITE_TRUNCATE", "WRITE_EMPTY"):
            raise Refused(501, "rows of a query cannot be added to a table here")
        if disposition == "WRITE_EMPTY" and full:
            raise Refused(409, f"Already Exists: Table {name}", "duplicate")
        self._run(f"CREATE OR REPLACE TABLE `{name}` AS {text}", parameters, default)
        return self.sql.run(f"SELECT * FROM `{name}`", [], self.project, None)

    def _extract_job(self, asked: Json, dry: bool) -> Result:
        uris = asked["destinationUris"]
        if asked.get("destinationFormat") != "AVRO" or not asked.get("useAvroLogicalTypes") or len(uris) != 1 or dry:
            raise Refused(501, f"tables are extracted into one Avro file here: {asked}")
        schema, rows = self._content(*_place(asked["sourceTable"]))
        self._files().write(uris[0].replace("*", "0" * 12), avro(schema, rows))
        return Result("EXTRACT")

    def _load_job(self, asked: Json, dry: bool) -> Result:
        data = b"".join(self._files().read(uri) for uri in asked["sourceUris"])
        return Result("LOAD", affected=self._loaded(asked, data))

    def _files(self) -> Bucket:
        if self.bucket is None:
            raise Refused(501, "there is no Cloud Storage here")
        return self.bucket

    def _modes(self, asked: Json) -> None:
        named = [bool(row.get("name")) for row in asked.get("queryParameters", ())]
        if named and asked.get("parameterMode") != ("NAMED" if all(named) else "POSITIONAL"):
            raise Refused(400, f"parameterMode {asked.get('parameterMode')} does not fit the parameters")

    def _keep(self, configuration: Json, result: Result, reference: Json | None = None) -> str:
        name = (reference or {}).get("jobId") or f"job_{uuid.uuid4().hex}"
        if name in self._jobs:
            raise Refused(409, f"Already Exists: Job {name}", "duplicate")
        self._jobs[name] = (configuration, result)
        return name

    def _reference(self, name: str) -> Json:
        return {"projectId": self.project, "jobId": name, "location": "US"}

    def _job(self, name: str) -> Json:
        configuration, result = self._jobs[name]
        job = self._described(configuration, self._reference(name), result)
        if result.kind == "SELECT":
            query = {"destinationTable": self._anonymous(name), **job["configuration"]["query"]}
            job["configuration"] = {**job["configuration"], "query": query}
        return job

    def _described(self, configuration: Json, reference: Json, result: Result) -> Json:
        kind = next(kind for kind in ("query", "load", "extract") if kind in configuration)
        statistics: Json = {"creationTime": "1", "startTime": "1", "endTime": "2"}
        if kind == "query":
            tables = [dict(zip(("projectId", "datasetId", "tableId"), place, strict=True)) for place in result.tables]
            statistics["totalBytesProcessed"] = "0"
            statistics["query"] = {"statementType": result.kind, "totalBytesProcessed": "0", "cacheHit": False}
            statistics["query"] |= {"referencedTables": tables} if tables else {}
        elif kind == "load":
            statistics["load"] = {"outputRows": str(result.affected)}
        return {
            "kind": "bigquery#job", "jobReference": reference, "statistics": statistics, "status": {"state": "DONE"},
            "id": f"{self.project}:US.{reference.get('jobId', '')}",
            "configuration": {**configuration, "jobType": kind.upper()},
        }  # fmt: skip

    def _anonymous(self, name: str) -> Json:
        """The table in which the result of a SELECT is kept: of a hidden dataset, and read like any other."""
        return {"projectId": self.project, "datasetId": ANONYMOUS, "tableId": f"anon{name}"}

    def get_job(self, call: Call) -> Json:
        """jobs.get"""
        return self._job(self._known(call))

    def _known(self, call: Call) -> str:
        name = call.given["jobId"]
        if name not in self._jobs:
            raise Refused(404, f"Not found: Job {name}", "notFound")
        return name

    def results(self, call: Call) -> Json:
        """jobs.getQueryResults"""
        name = self._known(call)
        most, start = call.given.get("maxResults"), call.given.get("startIndex") or call.given.get("pageToken") or 0
        page = self._page(name, self._jobs[name][1], most, int(start))
        return {"kind": "bigquery#getQueryResultsResponse", **{k: v for k, v in page.items() if k != "queryId"}}

    def _page(self, name: str, result: Result, most: Any = None, start: int = 0) -> Json:
        count = PAGE if most is None else int(most)
        rows = _wire(result.schema, result.rows[start : start + count])
        page: Json = {"jobReference": self._reference(name), "jobComplete": True, "cacheHit": False}
        page |= {"schema": {"fields": result.schema}, "totalRows": str(len(result.rows)), "totalBytesProcessed": "0"}
        page |= {"rows": rows} if rows else {}
        if start + count < len(result.rows) and count:
            page["pageToken"] = str(start + count)
        if result.affected is not None:
            page["numDmlAffectedRows"] = str(result.affected)
        return page

    # --- tables -------------------------------------------------------------------------------------------------------
    def get_dataset(self, call: Call) -> Json:
        """datasets.get"""
        name = call.given["datasetId"]
        if not self.sql.has_dataset(self.project, name):
            raise Refused(404, f"Not found: Dataset {self.project}:{name}", "notFound")
        return {"kind": "bigquery#dataset", "datasetReference": {"projectId": self.project, "datasetId": name}}

    def make_dataset(self, call: Call) -> Json:
        """datasets.insert"""
        name = call.body["datasetReference"]["datasetId"]
        if self.sql.has_dataset(self.project, name):
            raise Refused(409, f"Already Exists: Dataset {self.project}:{name}", "duplicate")
        self.sql.make_dataset(self.project, name)
        return call.body

    def drop_dataset(self, call: Call) -> Json:
        """datasets.delete"""
        name = call.given["datasetId"]
        self.get_dataset(call)
        self.sql.drop_dataset(self.project, name, call.given.get("deleteContents", "").lower() == "true")
        return {}

    def get_table(self, call: Call) -> Json:
        """tables.get"""
        place = (self.project, call.given["datasetId"], call.given["tableId"])
        schema, rows = self._content(*place)
        reference = dict(zip(("projectId", "datasetId", "tableId"), place, strict=False))
        changed = str(max(self._changed.get(".".join(place), 1), self._changed.get("*", 1)))
        return {
            "kind": "bigquery#table", "tableReference": reference, "schema": {"fields": schema}, "type": "TABLE",
            "numRows": str(len(rows)), "numBytes": str(len(repr(rows))), "lastModifiedTime": changed, "location": "US",
        }  # fmt: skip

    def _content(self, project: str, dataset: str, table: str) -> tuple[list[Json], list[tuple[Any, ...]]]:
        """Schema and rows of a table, or of a query's result. Raises Refused."""
        if dataset == ANONYMOUS and table.removeprefix("anon") in self._jobs:
            result = self._jobs[table.removeprefix("anon")][1]
            return result.schema, result.rows
        schema = self.sql.columns(project, dataset, table)
        if not schema:
            raise Refused(404, f"Not found: Table {project}:{dataset}.{table}", "notFound")
        return schema, self.sql.rows(project, dataset, table)

    def make_table(self, call: Call) -> Json:
        """tables.insert"""
        reference = call.body["tableReference"]
        place = (self.project, call.given["datasetId"], reference["tableId"])
        if self.sql.columns(*place):
            raise Refused(409, f"Already Exists: Table {'.'.join(place)}", "duplicate")
        self.sql.make_table(*place, call.body["schema"]["fields"])
        return call.body

    def drop_table(self, call: Call) -> Json:
        """tables.delete"""
        self.get_table(call)
        self.sql.drop_table(self.project, call.given["datasetId"], call.given["tableId"])
        return {}

    def table_rows(self, call: Call) -> Json:
        """tabledata.list"""
        place = (self.project, call.given["datasetId"], call.given["tableId"])
        schema, rows = self._content(*place)
        if "selectedFields" in call.given:
            wanted = call.given["selectedFields"].split(",")
            kept = [i for i, field in enumerate(schema) if field["name"] in wanted]
            schema, rows = [schema[i] for i in kept], [tuple(row[i] for i in kept) for row in rows]
        start = int(call.given.get("pageToken") or call.given.get("startIndex") or 0)
        count = int(call.given.get("maxResults") or PAGE)
        page = _wire(schema, rows[start : start + count])
        token = {"pageToken": str(start + count)} if start + count < len(rows) else {}
        return {"kind": "bigquery#tableDataList", "totalRows": str(len(rows)), "rows": page, **token}

    # --- uploads ------------------------------------------------------------------------------------------------------
    def upload(self, verb: str, query: Mapping[str, str], kind: str, body: bytes) -> tuple[Json, dict[str, str]]:
        """A load job with its file: in one request, or one that begins it and one with the bytes."""
        if query.get("uploadType") == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', kind)
            assert boundary, kind
            parts = body.split(b"--" + boundary[1].encode())[1:3]
            described, data = (part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in parts)
            return self._load(json.loads(described), data), {}
        if verb == "POST":
            number = uuid.uuid4().hex
            self._uploads[number] = json.loads(body)
            place = f"{self.url}/upload{BASE}projects/{self.project}/jobs?uploadType=resumable&upload_id={number}"
            return {}, {"Location": place}
        return self._load(self._uploads.pop(query["upload_id"]), body), {}

    def _load(self, job: Json, data: bytes) -> Json:
        self.contract.check(job, "Job")
        asked = job["configuration"]["load"]
        target = ".".join(_place(asked["destinationTable"]))
        with self._lock:
            result = Result("LOAD", affected=self._loaded(asked, data))
            self.calls.append(Call("jobs.insert", {"upload": target}, job))
            name = self._keep(job["configuration"], result, job.get("jobReference"))
        message = self._job(name)
        self.contract.check(message, "Job")
        return message

    def _loaded(self, asked: Json, data: bytes) -> int:
        """Rows of a file, put into a table; how many. Raises Refused."""
        place, disposition = _place(asked["destinationTable"]), asked.get("writeDisposition", "WRITE_APPEND")
        if asked["sourceFormat"] not in READERS:
            raise Refused(501, f"files in {asked['sourceFormat']} are not had here")
        if place[0] != self.project or not self.sql.has_dataset(*place[:2]):
            raise Refused(404, f"Not found: Dataset {place[0]}:{place[1]}", "notFound")
        typed = asked.get("schema", {}).get("fields") if asked["sourceFormat"] == "NEWLINE_DELIMITED_JSON" else None
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            count = self.sql.load(file.name, READERS[asked["sourceFormat"]], place, disposition, typed)
        self._changed[".".join(place)] = time.time_ns() // 1_000_000
        return count


HANDLERS: Mapping[str, Any] = {
    "jobs.query": FakeBigQuery.query,
    "jobs.insert": FakeBigQuery.insert,
    "jobs.get": FakeBigQuery.get_job,
    "jobs.getQueryResults": FakeBigQuery.results,
    "datasets.get": FakeBigQuery.get_dataset,
    "datasets.insert": FakeBigQuery.make_dataset,
    "datasets.delete": FakeBigQuery.drop_dataset,
    "tables.get": FakeBigQuery.get_table,
    "tables.insert": FakeBigQuery.make_table,
    "tables.delete": FakeBigQuery.drop_table,
    "tabledata.list": FakeBigQuery.table_rows,
}


def _place(reference: Json) -> tuple[str, str, str]:
    return reference["projectId"], reference["datasetId"], reference["tableId"]


def _wire(schema: list[Json], rows: list[tuple[Any, ...]]) -> list[Json]:
    """Rows as the API's JSON has them."""
    return [{"f": [{"v": cell(v, field)} for v, field in zip(row, schema, strict=True)]} for row in rows]


def _key() -> tuple[str, bytes]:
    """A private key for the service account, and the public one that belongs to it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return private.decode(), key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


def _handler(server: FakeBigQuery) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self._body()
            try:
                status, message, headers = 200, *self._answer(body)
            except Exception as error:  # a mistake of this server too: clients try again after 500
                server.errors.append(str(error))
                refused = error if isinstance(error, Refused) else Refused(400, f"{type(error).__name__}: {error}")
                error = {"message": refused.message, "reason": refused.reason, "domain": "global"}
                shape = {"code": refused.status, "message": refused.message, "errors": [error]}
                status, message, headers = refused.status, {"error": shape}, {}
            data = json.dumps(message).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                return gzip.decompress(data)
            return data

        def _answer(self, body: bytes) -> tuple[Json, dict[str, str]]:
            url = urlsplit(self.path)
            if url.path == "/token":
                return server.grant(body), {}
            if self.headers.get("Authorization") != f"Bearer {server.token}":
                raise Refused(401, "Request had invalid authentication credentials.", "authError")
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            if url.path.startswith("/upload"):
                return server.upload(self.command, query, self.headers.get("Content-Type", ""), body)
            return server.answer(self.command, unquote(url.path), query, body), {}

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _do

        def log_message(self, format: str, *arguments: Any) -> None:
            """Be quiet."""

    return Handler
