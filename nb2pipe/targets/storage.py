"""Where input files go before a run: object stores, and the upload of each content once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from nb2pipe.findings import finding
from nb2pipe.pipeline.graph import filled
from nb2pipe.targets.base import OnEvent, parameter_texts
from nb2pipe.targets.sending import SubmitError, http_status, sent
from nb2pipe.targets.submission import Patience, SubmitOptions

CHUNK = 1 << 20


class Storage(Protocol):
    """A bucket. Names of objects have no leading slash; errors are the client's own."""

    def holds(self, name: str, size: int) -> bool:
        """Whether the object is there with this many bytes."""
        ...

    def put(self, name: str, path: Path) -> None:
        """Stores the file as the object unless there is one of that name: then nothing happens."""
        ...


class CloudStorage:
    """A bucket of Cloud Storage, with Application Default Credentials."""

    def __init__(self, bucket: str) -> None:
        from google.cloud import storage

        self._bucket = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "-")).bucket(bucket)

    def holds(self, name: str, size: int) -> bool:
        """See Storage."""
        blob = self._bucket.get_blob(name, retry=None)
        return blob is not None and blob.size == size

    def put(self, name: str, path: Path) -> None:
        """See Storage."""
        try:
            blob = self._bucket.blob(name)
            blob.upload_from_filename(str(path), if_generation_match=0, checksum="crc32c", retry=None)
        except Exception as error:
            if http_status(error) != 412:
                raise


class S3:
    """A bucket of S3, or of MinIO and others that speak its language at AWS_ENDPOINT_URL, with boto3's credentials."""

    def __init__(self, bucket: str) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            hint = "pip install 'nb2pipe[s3]'"
            raise SubmitError([finding("missing-extra", "Uploading to S3 needs boto3.", hint=hint)]) from None
        config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
        self._bucket, self._client = bucket, boto3.client("s3", config=config)

    def holds(self, name: str, size: int) -> bool:
        """See Storage."""
        try:
            return bool(self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"] == size)
        except Exception as error:
            if http_status(error) != 404:
                raise
            return False

    def put(self, name: str, path: Path) -> None:
        """See Storage."""
        with path.open("rb") as file:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=file)


STORES: Mapping[str, Callable[[str], Storage]] = {"gs": CloudStorage, "s3": S3, "minio": S3}
"""What is at a URI, by its scheme; `minio` is Kubeflow's own name for its object store."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to store: where it lies here and in the bucket, and its bytes."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Staged:
    """The URI of each input file by its path in the pipeline, and what of them must be uploaded first.

    `elsewhere` are files at a URI that the user has given: another content may lie there tomorrow.
    """

    uris: Mapping[str, str]
    uploads: tuple[Upload, ...]
    bucket: str | None
    elsewhere: tuple[str, ...] = ()


def uncached(options: SubmitOptions, files: Staged) -> SubmitOptions:
    """The options with which no step takes an earlier result, which platforms know by URIs, where a content may change.

    What the user says of caching counts more.
    """
    return replace(options, caching=False) if files.elsewhere and options.caching is None else options


def staged(graph: Mapping[str, Any], options: SubmitOptions) -> Staged:
    """Where the pipeline's input files will be, by content, so that the same file always lies at the same place.

    Reads the files, and no network. Raises SubmitError for a file that is not there, or with nowhere to go.
    """
    texts = parameter_texts(
        graph, {k: v for k, v in options.parameters.items() if k in {p["name"] for p in graph["parameters"]}}
    )
    paths = {path: filled(path, texts) for path in graph["input_files"]}
    unknown = sorted(options.inputs.keys() - paths.keys() - {*paths.values()})
    if unknown:
        message = f"The pipeline reads no file {unknown[0]!r}; it reads: {', '.join(paths.values()) or 'none'}."
        raise SubmitError([finding("unknown-input", message, name=unknown[0])])
    uris, uploads, elsewhere = {}, [], []
    for path, name in paths.items():
        own = name if urlsplit(name).scheme in STORES else None
        given = options.inputs.get(path) or options.inputs.get(name) or own
        if given is not None:
            elsewhere.append(path)
        else:
            root = _root(options, name)
            folder, files = _contents(options.home, name)
            object_name = f"{urlsplit(root).path.strip('/')}/nb2pipe/inputs/{folder}".lstrip("/")
            uploads += [Upload(file, f"{object_name}{inner}", file.stat().st_size) for inner, file in files]
            given = f"{urlsplit(root).scheme}://{urlsplit(root).netloc}/{object_name}"
        uris[path] = given
    return Staged(uris, tuple(uploads), options.bucket, tuple(elsewhere))


def _root(options: SubmitOptions, name: str) -> str:
    """The URI under which input files go. Raises SubmitError."""
    if not options.bucket:
        message = f"The pipeline reads {name}, which has to be where the cluster can read it."
        hint = (
            "Give `--bucket gs://BUCKET` (or s3://, minio://) to have it uploaded, "
            f"or say where it is: `--input {name}=gs://...`."
        )
        raise SubmitError([finding("missing-place", message, name=name, hint=hint)])
    check_bucket(options.bucket)
    return options.bucket


def check_bucket(uri: str) -> None:
    """Raises SubmitError unless `uri` names a bucket that files can be uploaded to."""
    parts = urlsplit(uri)
    if parts.scheme not in STORES or not parts.netloc or parts.query or parts.fragment:
        message = f"{uri} is no bucket: it begins with {', '.join(f'{scheme}://' for scheme in STORES)}."
        raise SubmitError([finding("bad-bucket", message, name=uri)])
    if parts.scheme == "minio" and not os.environ.get("AWS_ENDPOINT_URL"):
        message = "Where the object store minio:// is must be said."
        hint = (
            "`kubectl port-forward -n kubeflow svc/minio-service 9000`, then set "
            "AWS_ENDPOINT_URL=http://localhost:9000, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
        raise SubmitError([finding("missing-place", message, name=uri, hint=hint)])


def _contents(home: Path, name: str) -> tuple[str, list[tuple[str, Path]]]:
    """Where in the bucket a file or folder goes, by its content, and its files: ("" or "/RELATIVE", path)."""
    path = home / name
    if path.is_file():
        return f"{digest(path)}/{path.name}", [("", path)]
    files = [(f"/{file.relative_to(path).as_posix()}", file) for file in sorted(_files(path))] if path.is_dir() else []
    if not files:
        hint = f"Put it into {home}, or say where it is: `--input {name}=gs://...`."
        raise SubmitError([finding("missing-input", f"The pipeline reads {name}, which is not here.", hint=hint)])
    whole = hashlib.sha256()
    for inner, file in files:
        whole.update(f"{len(inner)}:{inner}={digest(file)}\n".encode())
    return f"{whole.hexdigest()}/{path.name}", files


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """The sha256 of a file's content in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def upload(planned: Staged, patience: Patience, on_event: OnEvent) -> int:
    """Uploads what is not there yet; returns how many files that were. Raises SubmitError."""
    if not planned.uploads or planned.bucket is None:
        return 0
    parts = urlsplit(planned.bucket)
    try:
        store, count = STORES[parts.scheme](parts.netloc), 0
        for one in planned.uploads:
            if not sent(lambda one=one: store.holds(one.name, one.size), patience=patience, on_event=on_event):  # type: ignore[misc]
                sent(lambda one=one: store.put(one.name, one.path), patience=patience, on_event=on_event)  # type: ignore[misc]
                count += 1
    except SubmitError:
        raise
    except Exception as error:
        raise SubmitError([_not_stored(planned.bucket, error)]) from error
    return count


HINTS: Mapping[int, str] = {
    401: "Log in: `gcloud auth application-default login`, or for S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    403: "Give your account the role Storage Object User on the bucket (for S3: s3:GetObject, s3:PutObject).",
    404: "Make the bucket (`gcloud storage buckets create gs://BUCKET`), or correct --bucket.",
}


def _not_stored(bucket: str, error: Exception) -> Any:
    status = http_status(error)
    nobody = type(error).__name__ in {"DefaultCredentialsError", "RefreshError", "NoCredentialsError"}
    hint = HINTS.get(401 if nobody else status or 0, "Check --bucket and the network, then submit again.")
    why = "there are no credentials" if nobody else str(error).partition("\n")[0][:300]
    return finding("upload-failed", f"The input files cannot be uploaded to {quote(bucket, ':/')}: {why}", hint=hint)
