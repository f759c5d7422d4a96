"""Who a session is: a personal access token, or a service principal that trades its secret for short-lived tokens.

The client is given a hook that makes headers (``credentials_provider``) for both, and nothing else to sign in with:
without one it would open a browser. The header's name is in lower case on purpose: under its usual name the client
takes the token out, keeps it for an hour whatever its own life is, and may trade it at an address of its own finding.
"""

import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException
from socket import gaierror
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from shared.errors import CredentialsRefused, SyncError, WarehouseBusy, WarehouseUnreachable
from shared.providers.databricks import DatabricksConfig

Headers = Callable[[], Mapping[str, str]]
"""Makes the headers of one request; asked before each."""

_TIMEOUT_S: Final = 30.0
_USED_SHARE: Final = 0.8
"""How much of a token's life is used before it is renewed."""
_LIFE_S: Final = 3600.0
"""How long a token lives that does not say so. Source: Databricks, "OAuth for service principals"."""
_BUSY: Final = 500


def sign_in(connection_id: str, config: DatabricksConfig, resolve: Callable[[str], str]) -> Headers:
    """Give what signs requests in, as declared.

    Raises:
        SecretUnavailable: the secret's reference leads nowhere.
        CredentialsRefused: the service principal's secret is refused.
        WarehouseUnreachable: there is nobody to ask for a token.
        WarehouseBusy: no token can be had now.
    """
    if config.access_token is not None:
        token = resolve(config.access_token)
        return lambda: {"authorization": f"Bearer {token}"}
    principal = ServicePrincipal(
        connection_id,
        f"{config.base_url}/oidc/v1/token",
        client_id=config.client_id or "",
        secret=resolve(config.client_secret or ""),
    )
    principal.headers()
    return principal.headers


class ServicePrincipal:
    """OAuth machine-to-machine: client credentials for a token, renewed before it ends. Safe in several threads."""

    def __init__(
        self,
        connection_id: str,
        url: str,
        *,
        client_id: str,
        secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is asked for yet."""
        self._connection_id = connection_id
        self._url = url
        self._client_id = client_id
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def headers(self) -> Mapping[str, str]:
        """Give the header of a token that is still good.

        Raises:
            CredentialsRefused: the secret is refused.
            WarehouseUnreachable: nobody gives tokens at that address.
            WarehouseBusy: no token can be had now.
        """
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                self._renew()
            return {"authorization": f"Bearer {self._token}"}

    def _renew(self) -> None:
        asked_at = self._clock()
        try:
            answer = self._ask()
            token, life_s = str(answer["access_token"]), float(answer.get("expires_in") or _LIFE_S)
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (URLError, HTTPException, OSError) as error:
            raise self._unanswered(error) from None
        except (ValueError, KeyError, TypeError):
            raise WarehouseUnreachable(
                f"connection {self._connection_id!r}: {self._url} answers something other than a token; correct "
                "server_hostname or endpoint"
            ) from None
        self._token, self._renew_at = token, asked_at + life_s * _USED_SHARE

    def _ask(self) -> Any:
        pair = b64encode(f"{self._client_id}:{self._secret}".encode()).decode()
        request = Request(  # noqa: S310 - the address is https, or this machine's; the declaration's check says so
            self._url,
            data=urlencode({"grant_type": "client_credentials", "scope": "all-apis"}).encode(),
            headers={"Authorization": f"Basic {pair}", "Accept": "application/json"},
        )
        with build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)

    def _refused(self, error: HTTPError) -> SyncError:
        place = f"connection {self._connection_id!r}: {self._url}"
        if error.code in {400, 401, 403}:
            return CredentialsRefused(
                f"{place} refused the service principal {self._client_id} with HTTP {error.code}; correct client_id, "
                "or make it a new OAuth secret"
            )
        if error.code == 429 or error.code >= _BUSY:  # noqa: PLR2004 - "too many requests"
            return WarehouseBusy(f"{place} gives no token now: HTTP {error.code}")
        return WarehouseUnreachable(f"{place} gives no tokens: HTTP {error.code}; correct server_hostname or endpoint")

    def _unanswered(self, error: Exception) -> SyncError:
        place = f"connection {self._connection_id!r}: {self._url}"
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, gaierror | ssl.SSLCertVerificationError):
            told = "its host is unknown" if isinstance(reason, gaierror) else "its certificate is not valid"
            return WarehouseUnreachable(f"{place}: {told}; correct server_hostname or endpoint")
        return WarehouseBusy(f"{place} does not answer ({type(reason).__name__}); it is asked again")


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would show the secret to whoever it names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""
