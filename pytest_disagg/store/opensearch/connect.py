"""Settings from ``OPENSEARCH_*`` and the connection that they make."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.errors import UsageError
from pytest_disagg.store.values import Values

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PREFIX = "OPENSEARCH_"
DEFAULT_INDEX = "pytest-disagg"
DEFAULT_TIMEOUT_S = 10.0
_INDEX = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")


@dataclass(frozen=True, repr=False)
class Settings:
    """Where the server is and how it knows us. ``index`` is the name that all indexes and aliases start with."""

    url: str
    index: str
    timeout_s: float
    verify: bool
    ca: Path | None
    user: str
    password: str
    token: str
    certificate: Path | None
    key: Path | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read them.

        Raises:
            UsageError: a value cannot be used, or two ways to authenticate are given.
        """
        values = Values(environ, PREFIX)
        index = values.text("INDEX", DEFAULT_INDEX)
        if not _INDEX.fullmatch(index):
            raise UsageError(f"{PREFIX}INDEX: found {index!r}, expected lower-case letters, digits, '.', '_' and '-'")
        found = cls(
            url=values.url("URL"),
            index=index,
            timeout_s=values.seconds("TIMEOUT_S", DEFAULT_TIMEOUT_S),
            verify=values.yes("VERIFY", default=True),
            ca=values.file("CA_BUNDLE"),
            user=values.text("USERNAME"),
            password=values.secret("PASSWORD"),
            token=values.secret("TOKEN"),
            certificate=values.file("CLIENT_CERT"),
            key=values.file("CLIENT_KEY"),
        )
        found._check()
        return found

    def _check(self) -> None:
        if bool(self.user) != bool(self.password):
            missing, given = ("PASSWORD", "USERNAME") if self.user else ("USERNAME", "PASSWORD")
            raise UsageError(f"{PREFIX}{given} is set and {PREFIX}{missing} is not")
        if self.user and self.token:
            raise UsageError(f"{PREFIX}USERNAME and {PREFIX}TOKEN are both set; expected one of them")
        if self.key and not self.certificate:
            raise UsageError(f"{PREFIX}CLIENT_KEY is set and {PREFIX}CLIENT_CERT is not")
        secured = self.user or self.token or self.certificate
        if secured and not self.url.startswith("https://") and not self._local():
            raise UsageError(f"{PREFIX}URL: found {self.url}, expected https:// where there are credentials to send")

    def _local(self) -> bool:
        return re.match(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)", self.url) is not None

    def tls(self) -> ssl.SSLContext | None:
        """What https verifies, and the certificate that it shows; None for http.

        Raises:
            UsageError: a file of it is no certificate or key.
        """
        if not self.url.startswith("https://"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            files = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise UsageError(f"{PREFIX}CA_BUNDLE, {PREFIX}CLIENT_CERT, {PREFIX}CLIENT_KEY: {files}: {error}") from error
        return context


def connect(settings: Settings) -> OpenSearch:
    """A client that tries everything once: what is tried again is decided in one place, store/retry.py.

    Raises:
        UsageError: opensearch-py is not installed, or a certificate cannot be used.
    """
    try:
        from opensearchpy import OpenSearch
    except ImportError as error:
        raise UsageError(f"{PREFIX}URL is set: pip install 'pytest-disagg[opensearch]' ({error})") from error
    # It logs a traceback for each failed try; what failed in the end is in our own errors.
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {}
    if context := settings.tls():
        options["ssl_context"] = context
        if not settings.verify:
            import urllib3

            # It would warn at every request of what was asked for.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            options["ssl_assert_hostname"] = False
    if settings.user:
        options["http_auth"] = (settings.user, settings.password)
    if settings.token:
        options["headers"] = {"Authorization": f"Bearer {settings.token}"}
    return OpenSearch(
        [settings.url],
        timeout=settings.timeout_s,
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
        pool_maxsize=1,
        http_compress=True,
        **options,
    )
