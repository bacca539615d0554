"""The request: what a client asks for, and what the manager makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from voiced.errors import FormatNotSupported, RequestError, TextTooLong
from voiced.speech import AudioFormat, Notice, Voice
from voiced.text import SpeechText


def _as_text(value: object) -> str:
    # Not pydantic's str: that one refuses lone surrogate halves, which clients may send.
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")  # noqa: TRY004  # pydantic wants it
    return value


def _as_input(value: object) -> str:
    if not (text := _as_text(value)):
        raise ValueError("It is empty; give at least one character")
    return text


def _as_voice_id(value: object) -> object:
    # OpenAI's SDK sends {"id": ...} for a custom voice.
    return value.get("id", value) if isinstance(value, Mapping) else value


def _as_format(value: object) -> AudioFormat:
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")  # noqa: TRY004  # pydantic wants it
    try:
        return AudioFormat(value)
    except ValueError:
        known = ", ".join(AudioFormat)
        raise FormatNotSupported(
            f"The response_format is not one of {known}.", param="response_format"
        ) from None


AnyText = Annotated[str, PlainValidator(_as_text), WithJsonSchema({"type": "string"})]
"""Text of a client, with whatever code points it has."""

_NAMES = ("model", "voice", "language")


class SpeechRequest(BaseModel):
    """All of a request to speak but its text, which may come later.

    Unknown fields are ignored and a null counts as absent: clients send many of both.
    Whether the model, the voice and the options exist is the manager's to say.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    model: str | None = Field(None, description="Public model name, backend id, or `auto`.")
    voice: Annotated[
        str | None,
        BeforeValidator(_as_voice_id),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "object", "properties": {"id": {"type": "string"}}},
                    {"type": "null"},
                ]
            }
        ),
    ] = Field(None, description="Native voice name or alias; default per backend.")
    response_format: Annotated[
        AudioFormat | None,
        PlainValidator(_as_format),
        WithJsonSchema({"type": "string", "enum": list(AudioFormat)}),
    ] = Field(None, description="Default mp3 over HTTP, pcm over WebSocket.")
    speed: float = Field(1.0, ge=0.25, le=4.0, allow_inf_nan=False)
    instructions: str | None = Field(None, description="For backends that know it, else ignored.")
    stream: bool = Field(True, description="False: one buffered answer with Content-Length.")
    stream_format: Literal["audio", "sse"] = "audio"
    model_specific_options: dict[str, Any] = Field(
        default_factory=dict, description="Checked by the backend's own schema."
    )
    language: str | None = Field(None, description="BCP-47 tag; default the voice's own.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        # Many clients send an empty name where they mean the default.
        return {
            key: value
            for key, value in data.items()
            if value is not None and not (key in _NAMES and value == "")
        }

    may_take_another_voice: ClassVar[bool] = False
    """A voice that is not there means the usual one, rather than an error."""

    def text(self) -> SpeechText:
        """Return the text to be spoken: here one that has not begun."""
        return SpeechText()


class OpenAISpeechRequest(SpeechRequest):
    """A request to speak, as `POST /v1/audio/speech` and the WebSocket's `speak` carry it."""

    input: Annotated[
        str, PlainValidator(_as_input), WithJsonSchema({"type": "string", "minLength": 1})
    ] = Field(description="The text to speak.")

    def text(self) -> SpeechText:
        """Return the whole text."""
        return SpeechText.whole(self.input)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: object, *, error: type[RequestError] = RequestError) -> Model:
    """Validate `data` from a client, or raise one `error` that names the first field at fault.

    The message never holds the value: it may be text to be spoken.
    """
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise error(f"{where or 'request'}: {message}.", param=where or None) from None


def check_length(characters: int, *, limit: int, param: str) -> None:
    """Refuse a text of more code points than `limit`, before anything is done with it.

    Raises:
        TextTooLong: it is.
    """
    if characters > limit:
        raise TextTooLong(
            f"The {param} has {characters} characters, the limit is {limit}; send it in parts.",
            param=param,
        )


class BackendState(StrEnum):
    """What a backend could do if asked now."""

    READY = "ready"
    IDLE = "idle"
    LOADING = "loading"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A public model name and what stands behind it."""

    id: str
    backend: str
    state: BackendState
    local: bool
    cure: str | None
    options: dict[str, Any]  # JSON Schema

    def as_dict(self) -> dict[str, Any]:
        """Return it as `models/list` tells it: `cure` only where there is one."""
        # Not `asdict`: that copies the schema, which takes a millisecond.
        told = {name: getattr(self, name) for name in self.__slots__}
        return told if self.cure is not None else {k: v for k, v in told.items() if k != "cure"}


@dataclass(frozen=True, slots=True)
class ModelVoice:
    """A voice and the model name to ask for it by."""

    model: str
    voice: Voice

    def as_dict(self) -> dict[str, Any]:
        """Return it as `voices/list` tells it."""
        return {**asdict(self.voice), "model": self.model}


@dataclass(frozen=True, slots=True)
class Plan:
    """A request whose names were looked up; the backends are tried in order."""

    request: SpeechRequest
    text: SpeechText
    model: str
    backend_ids: tuple[str, ...]
    response_format: AudioFormat
    sample_rate: int
    wants_words: bool = False  # marks by word
    notices: tuple[Notice, ...] = ()
