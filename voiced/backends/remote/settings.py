"""What every remote backend can be told, and where its key is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from voiced.backends.base import BackendSettings
from voiced.config import credential, secret_file
from voiced.errors import BackendUnavailable


def _as_base_url(value: str) -> str:
    problem = "It is no http:// or https:// address of a server, without a password or a query"
    if not (value.isascii() and value.isprintable()) or set(" @?#") & set(value):
        raise ValueError(problem)
    try:
        parts = urlsplit(value)
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        has_host = False
    if not has_host:
        raise ValueError(problem)
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_as_base_url)]


class RemoteSettings(BackendSettings):
    """A `[backends.ID]` section of a provider."""

    base_url: BaseUrl = Field(description="Where the provider's server is.")
    api_key: SecretStr = Field(SecretStr(""), description="Its key; better in one of the next two.")
    api_key_file: str = Field("", description="A file that holds the key.")
    api_key_name: str = Field(
        "", description="The variable or systemd credential that holds it; empty: the usual one."
    )
    first_audio_timeout_s: float = Field(
        10, ge=0, description="Without audio for so long, the fallback speaks; 0: never."
    )
    connect_timeout_s: float = Field(4, gt=0, description="For a connection to be there.")
    stall_timeout_s: float = Field(15, gt=0, description="Between two parts of the audio.")
    total_timeout_s: float = Field(
        300, gt=0, description="Of waiting for the provider, all together, in a request."
    )
    max_concurrent: int = Field(4, ge=1, le=256, description="Requests at a time; others wait.")
    retries: int = Field(2, ge=0, le=5, description="Of what may pass, before the first audio.")

    @property
    def host(self) -> str:
        """What the provider is called in messages."""
        return urlsplit(self.base_url).hostname or ""


def find_key(settings: RemoteSettings, usual_name: str, environ: Mapping[str, str]) -> str | None:
    """Return the key: of the section, its file, the environment, or a systemd credential.

    `usual_name` is looked for where the section names nothing; empty: it has no key then.

    Raises:
        BackendUnavailable: the file that is named cannot be read.
    """
    if key := settings.api_key.get_secret_value():
        return key
    if settings.api_key_file:
        try:
            return secret_file(settings.api_key_file, environ).read_text(encoding="utf-8").strip()
        except (OSError, ValueError, RuntimeError):
            raise BackendUnavailable(
                "The file that api_key_file names cannot be read; correct it."
            ) from None
    name = settings.api_key_name or usual_name
    if not name:
        return None
    if given := environ.get(name):
        return given
    file = credential(name, environ) or credential(name.lower(), environ)
    try:
        return file.read_text(encoding="utf-8").strip() if file else None
    except (OSError, ValueError):
        raise BackendUnavailable(f"The credential {name} cannot be read; correct it.") from None
