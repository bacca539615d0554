"""Every error that voiced raises on purpose: one tree, each leaf with a stable wire code.

    VoicedError                                   internal_error
    ├── RequestError                              invalid_request     the client mends it
    │   ├── ModelNotFound                         model_not_found
    │   ├── VoiceNotFound                         voice_not_found
    │   ├── InvalidOption                         invalid_option
    │   ├── TextTooLong                           text_too_long
    │   ├── FormatNotSupported                    format_not_supported
    │   ├── LanguageNotSupported                  language_not_supported
    │   ├── SpeechClosed                          speech_closed
    │   ├── InvalidFormat                         invalid_format      not a command at all
    │   ├── IdReuse                               id_reuse
    │   ├── UnknownCommand                        unknown_command
    │   └── Unauthorized                          unauthorized
    ├── BusyError                                 overloaded          the same again later may work
    │   ├── TooManySpeeches                       too_many_speeches
    │   └── ShuttingDown                          shutting_down
    ├── BackendError                              backend_error       the engine or provider failed
    │   ├── BackendUnavailable                    backend_unavailable
    │   ├── BackendLate                           timeout             it gave nothing in time
    │   ├── UpstreamAuth                          upstream_auth       the provider refuses our key
    │   └── UpstreamQuota                         upstream_quota      ... or has given enough
    ├── SpeechTimeout                             timeout
    ├── StoreError                                (never on the wire) the model files
    │   ├── DownloadFailed                                        the same again goes on
    │   └── FileRejected                                          not what was published
    └── ConfigError                               (never on the wire)

A message is one sentence that names the thing, the limit and the cure. It holds no spoken text
beyond the name at fault, no path and no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class VoicedError(Exception):
    """Base of the tree; raised as it stands only for a bug of ours."""

    code: str = "internal_error"
    retryable: bool = False

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def as_dict(self) -> dict[str, Any]:
        """Return the error object of a WebSocket `result` or `speech-end`."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.param is not None:
            body["param"] = self.param
        return body


class RequestError(VoicedError):
    code = "invalid_request"


class ModelNotFound(RequestError):
    code = "model_not_found"


class VoiceNotFound(RequestError):
    code = "voice_not_found"


class InvalidOption(RequestError):
    code = "invalid_option"


class TextTooLong(RequestError):
    code = "text_too_long"


class FormatNotSupported(RequestError):
    code = "format_not_supported"


class LanguageNotSupported(RequestError):
    code = "language_not_supported"


class SpeechClosed(RequestError):
    code = "speech_closed"


class InvalidFormat(RequestError):
    code = "invalid_format"


class IdReuse(RequestError):
    code = "id_reuse"


class UnknownCommand(RequestError):
    code = "unknown_command"


class Unauthorized(RequestError):
    code = "unauthorized"


class BusyError(VoicedError):
    code = "overloaded"
    retryable = True


class TooManySpeeches(BusyError):
    code = "too_many_speeches"


class ShuttingDown(BusyError):
    code = "shutting_down"


class BackendError(VoicedError):
    code = "backend_error"
    retryable = True


class BackendUnavailable(BackendError):
    """The backend cannot work until somebody does what the message says."""

    code = "backend_unavailable"
    retryable = False


class BackendLate(BackendError):
    code = "timeout"


class UpstreamAuth(BackendError):
    code = "upstream_auth"
    retryable = False


class UpstreamQuota(BackendError):
    code = "upstream_quota"


class SpeechTimeout(VoicedError):
    code = "timeout"
    retryable = True


class StoreError(VoicedError):
    """The model store could not do what a command asked of it."""

    code = "store_error"


class DownloadFailed(StoreError):
    code = "download_failed"
    retryable = True


class FileRejected(StoreError):
    code = "file_rejected"


class ConfigError(VoicedError):
    """The configuration is wrong; `problems` has one line for each fault, found in one go."""

    code = "config_error"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
