"""Tables of the BigQuery stand-in as files in Cloud Storage, in both directions, as its load and extract jobs want."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from rest_contract import Json, Refused

AVRO: dict[str, Any] = {
    "INTEGER": "long",
    "FLOAT": "double",
    "STRING": "string",
    "BOOLEAN": "boolean",
    "BYTES": "bytes",
    "DATE": {"type": "int", "logicalType": "date"},
    "TIMESTAMP": {"type": "long", "logicalType": "timestamp-micros"},
}
"""Types of columns as an extract job with `useAvroLogicalTypes` writes them."""


class Bucket:
    """Cloud Storage at `url`, by the real client."""

    def __init__(self, url: str) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        self._client = storage.Client("any", AnonymousCredentials(), client_options={"api_endpoint": url})

    def read(self, uri: str) -> bytes:
        """An object. Raises Refused."""
        found = self._client.bucket(urlsplit(uri).netloc).get_blob(urlsplit(uri).path.lstrip("/"))
        if found is None:
            raise Refused(404, f"Not found: URI {uri}", "notFound")
        return bytes(found.download_as_bytes())

    def write(self, uri: str, data: bytes) -> None:
        """Make an object."""
        self._client.bucket(urlsplit(uri).netloc).blob(urlsplit(uri).path.lstrip("/")).upload_from_string(data)

    def close(self) -> None:
        """Free everything."""
        self._client.close()


def avro(schema: Sequence[Json], rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as an extract job writes them. Raises Refused for columns of a type that is not had here."""
    import fastavro

    record = {"type": "record", "name": "Root", "fields": list(_fields(schema))}
    names = [field["name"] for field in schema]
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(record), [dict(zip(names, row, strict=True)) for row in rows])
    return file.getvalue()


def _fields(schema: Sequence[Json]) -> Iterator[Json]:
    for field in schema:
        if field["type"] not in AVRO:
            raise Refused(501, f"column {field['name']}: {field['type']} in Avro is not had here")
        plain = AVRO[field["type"]]
        repeated = field["mode"] == "REPEATED"
        yield {"name": field["name"], "type": {"type": "array", "items": plain} if repeated else ["null", plain]}
