"""The API of Kubeflow Pipelines through the real `kfp.Client`: login, attempts, and errors that say what mends them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from nb2pipe.findings import Finding, finding
from nb2pipe.targets.base import OnEvent
from nb2pipe.targets.sending import SubmitError, http_status, may_pass, missing_places, sent
from nb2pipe.targets.submission import SubmitOptions

T = TypeVar("T")
SERVICE_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # where Kubeflow puts one into pods
HEALTH = "the Pipelines API"
"""What the first request is about: whether there is one at all."""
FORWARD = "`kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888` and `--host http://localhost:8888`"


class Api:
    """A Kubeflow Pipelines server. Nothing is asked of it before `ask`."""

    def __init__(self, options: SubmitOptions, on_event: OnEvent) -> None:
        inside = os.environ.get("KUBERNETES_SERVICE_HOST")
        hint = f"Give `--host URL` or set KF_PIPELINES_ENDPOINT; without an ingress: {FORWARD}."
        missing_places([(options.kfp.host or inside, "It is not said where Kubeflow Pipelines is.", hint)])
        self._options, self._on_event, self._place = options, on_event, options.kfp
        self._client: Any = None

    @property
    def host(self) -> str:
        """The server's address as it was given."""
        return self._place.host or "this cluster's Kubeflow Pipelines"

    def namespace(self) -> str | None:
        """The namespace that was given, or that the SDK's settings name; None where there is only one.

        Raises SubmitError where there are several.
        """
        found = self.ask(lambda client, timeout: client.get_user_namespace(), what=HEALTH, is_json=False)
        if not found and self.ask(lambda client, timeout: client.get_kfp_healthz(), what=HEALTH).multi_user:
            hint = "Give the namespace of your profile: `--namespace NAME` (`kubectl get profiles` shows them)."
            raise SubmitError([finding("missing-place", f"{self.host} has several namespaces.", hint=hint)])
        return found or None

    def ask(
        self,
        call: Callable[..., T],
        already: Callable[[Any, Exception], T | None] | None = None,
        what: str = "",
        *,
        is_json: bool = True,
    ) -> T:
        """What `call(client, timeout)` gives, tried again while that may help; a token that ran out is renewed once.

        `already` is asked before a second attempt for what the first one, which failed so, made. Raises SubmitError;
        `what` says in words what was asked for; `is_json` whether an answer is one of the API's messages.
        """
        timeout = (10, self._options.patience.answer)
        renewed: list[bool] = []

        def answer() -> T:
            found = call(self._connected(), timeout)
            if is_json:
                self._understand()
            return found

        def passing(error: BaseException) -> bool:
            if http_status(error) == 401 and not renewed:
                renewed.append(True)
                self._client = None
                return True
            return may_pass(error)

        try:
            return sent(
                answer,
                already=lambda error: already(self._connected(), error) if already else None,
                patience=self._options.patience,
                on_event=self._on_event,
                passing=passing,
            )
        except SubmitError:
            raise
        except Exception as error:
            raise SubmitError([self._finding(error, what)]) from error

    def _connected(self) -> Any:
        if self._client is None:
            self._client = _client(self._options)
        return self._client

    def _understand(self) -> None:
        """Raises NoApi unless the last answer was JSON: of the text of a page the SDK would make an empty message."""
        response = self._client.runs.run_service_get_run.__self__.api_client.last_response
        try:
            json.loads(response.data)
        except ValueError:
            raise NoApi("what answers is not the Pipelines API but a page, most likely one to log in") from None

    def _finding(self, error: Exception, what: str) -> Finding:
        status, said = http_status(error), _said(error)
        about = f"{self.host}: {what}: " if what else f"{self.host}: "
        if status == 401 or isinstance(error, NoApi):
            hint = (
                "Set KFP_TOKEN or --token-file to a token of yours (Kubeflow with Dex or OIDC), run `gcloud auth "
                f"application-default login` (Google Cloud), or go past the gateway: {FORWARD}."
            )
            return finding("not-logged-in", f"{about}{said}", hint=hint)
        if status == 403:
            space = self._place.namespace or "NAMESPACE"
            hint = (
                "Correct --namespace, or have somebody run `kubectl create rolebinding pipelines "
                f"-n {space} --clusterrole=kubeflow-edit --user=YOU`."
            )
            return finding("not-allowed", f"{about}{said}", hint=hint)
        if status == 404 and what == HEALTH:
            hint = f"Correct --host: it is the URL below which /apis/v2beta1 is. Without an ingress: {FORWARD}."
            return finding("not-there", f"{about}{said}", hint=hint)
        codes = {404: "not-there", 413: "beyond-limit"}
        if status and status not in (408, 429) and status < 500:
            return finding(codes.get(status, "request-refused"), f"{about}{said}")
        hint = f"Check --host and the network. Without an ingress: {FORWARD}."
        if "SSLError" in said or "CERTIFICATE" in said:
            hint = "Give the certificate that signs the server's: `--ca FILE`; or, if it has none, http:// in --host."
        return finding("no-answer", f"{about}{said}", hint=hint)


def named(name: str) -> str:
    """The filter of the API for what has this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


class NoApi(Exception):
    """What answered is not the API: a login page, most often."""


def _said(error: Exception) -> str:
    """What the server said, or why there is no answer. Never what was sent: that may hold a token."""
    body = getattr(error, "body", None)
    try:
        told = json.loads(body) if body else {}
        text = str(told.get("message") or told.get("error") or "")
    except (ValueError, TypeError, AttributeError):
        text = ""
    status = http_status(error)
    if status:
        return f"{status} {getattr(error, 'reason', '')}: {text[:500]}".strip(" :")
    return f"no answer ({type(error).__name__}: {str(error)[:300]})"


def _client(options: SubmitOptions) -> Any:
    """The SDK's client, which asks nothing before it is used beyond what its login needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it wants Kubeflow Pipelines 2
        import kfp

        class Client(kfp.Client):  # type: ignore[misc]
            """The SDK's, but for its own way to ask again, which logs tracebacks for half a minute."""

            def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
                return self.healthzs.healthz_service_get_healthz(_request_timeout=(10, options.patience.answer))

        place = options.kfp
        return Client(
            host=place.host,
            namespace=place.namespace or "kubeflow",
            existing_token=place.token,
            credentials=_credentials(place.token_file),
            ui_host=place.ui,
            ssl_ca_cert=str(place.ca) if place.ca else None,
        )


def _credentials(token_file: Path | None) -> Any:
    """What reads the token of a file anew for each request: the given one, or the pod's own."""
    path = token_file or Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", SERVICE_TOKEN))
    if token_file is None and not path.is_file():
        return None
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    return ServiceAccountTokenVolumeCredentials(str(path))
