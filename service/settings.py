"""Settings of the service, from the environment (`LABELSET_*`) or from the command line."""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.devices import Device
from model.errors import LabelsetError
from model.preprocess import DEFAULT_LIMITS, Limits
from model.repository import EMBEDDED_BUNDLES
from service.cores import usable_cores
from service.logs import LogFormat
from service.session_calls import LoadSettings

_PREFIX = "LABELSET_"
# One is decoded while the other is computed.
_RUNNERS_ON_A_GPU = 2


class InvalidSettings(LabelsetError):
    """A setting that does not exist or has an impossible value."""

    code = "invalid_settings"


@dataclass(frozen=True)
class BatchLimits:
    """How much goes together.

    Attributes:
        rows: Inputs of one batch.
        tokens: Tokens of one batch of texts, padding included; a longer text makes a batch of its own.
    """

    rows: int
    tokens: int


class Settings(BaseSettings):
    """Everything one may set; a field `port` is the variable `LABELSET_PORT`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    grpc_port: int | None = Field(default=None, ge=0, le=65535, description="needs the extra `grpc`; none: no gRPC")
    models: Path = Field(default=EMBEDDED_BUNDLES, description="a bundle, or a repository of NAME/VERSION/bundle.json")
    watch_seconds: float = Field(default=0, ge=0, description="how often changes of models are looked for; 0: never")
    admin: bool = Field(default=False, description="whether callers may load and unload models")
    keys_file: Path | None = Field(default=None, description="API keys that callers need; without it anyone may ask")
    tls_certificate: Path | None = Field(default=None, description="PEM; with `tls_key` the service speaks HTTPS")
    tls_key: Path | None = Field(default=None, description="PEM, not encrypted")
    cors_origins: str = Field(default="", description="origins whose pages may ask, a blank between them; `*`: all")
    device: Device = "auto"
    runners: int = Field(default=0, ge=0, description="batches computed at the same time; 0: one a core, two on a GPU")
    runtime_threads: int = Field(default=0, ge=0, description="threads within one operator; 0: the cores of a runner")
    decode_threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        description="inputs of a model decoded at the same time, at least one a runner",
    )
    max_image_bytes: int = Field(default=DEFAULT_LIMITS.max_image_bytes, ge=1)
    max_image_pixels: int = Field(default=DEFAULT_LIMITS.max_image_pixels, ge=1)
    max_audio_bytes: int = Field(default=DEFAULT_LIMITS.max_audio_bytes, ge=1)
    max_text_chars: int = Field(default=DEFAULT_LIMITS.max_text_chars, ge=1)
    max_batch_size: int = Field(default=32, ge=1, description="inputs of one request")
    max_batch_rows: int = Field(default=32, ge=1, description="inputs, of any requests, computed together")
    max_batch_tokens: int = Field(default=4096, ge=1, description="tokens computed together, padding included")
    max_waiting: int = Field(default=256, ge=1, description="inputs worked on or waiting; more are refused with 503")
    result_cache_rows: int = Field(default=0, ge=0, description="inputs whose answers are kept; 0: none")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="bytes of one request")
    max_open_body_bytes: int = Field(
        default=512 * 1024 * 1024, ge=1, description="bytes of all large bodies at once; more are refused with 503"
    )
    head_seconds: float = Field(default=10, gt=0, description="time for the head of a request to arrive")
    body_seconds: float = Field(default=60, gt=0, description="time for the body of a request to arrive")
    log_format: LogFormat = Field(default="text", description="`json`: one object a line")
    otel: bool = Field(default=False, description="OpenTelemetry traces; needs the extra `otel`")
    leave_seconds: float = Field(
        default=0.5, ge=0, description="at the end, time in which new requests are answered while /readyz says 503"
    )
    batch_seconds: float = Field(default=60, gt=0, description="time for a batch, or for loading a model")
    drain_seconds: int = Field(default=10, ge=1, description="after that, time for open requests")

    def __init__(self, **values: Any) -> None:
        """Read the environment; `values` override it.

        Raises:
            InvalidSettings: a value out of its range, or a variable that looks like a misspelt one.
        """
        _refuse_misspelt_variables(set(type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = _PREFIX + ".".join(str(part) for part in first["loc"]).upper() if first["loc"] else "settings"
            message = first["msg"].removeprefix("Value error, ")
            raise InvalidSettings(f"{name}: {message}, got {first['input']!r}" if first["loc"] else message) from None

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_what_browsers_send(cls, value: str) -> str:
        for origin in value.split():
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@]+", origin):
                raise ValueError("an origin must be * or like https://example.org:8443, without a path")
        return value

    @model_validator(mode="after")
    def _a_certificate_has_its_key(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(f"{_PREFIX}TLS_CERTIFICATE and {_PREFIX}TLS_KEY must be set together, got one of them")
        return self

    @model_validator(mode="after")
    def _a_body_holds_a_file(self) -> "Settings":
        # A file in JSON is base64: four bytes for three.
        for what, limit in (("an image", "max_image_bytes"), ("a recording", "max_audio_bytes")):
            needed = getattr(self, limit) * 4 // 3 + 1024
            if self.max_body_bytes < needed:
                raise ValueError(
                    f"LABELSET_MAX_BODY_BYTES must be at least {needed}, so that {what} of {_PREFIX}{limit.upper()} "
                    f"{getattr(self, limit)} fits in as base64, got {self.max_body_bytes}"
                )
        return self

    @model_validator(mode="after")
    def _a_body_may_come(self) -> "Settings":
        if self.max_open_body_bytes < self.max_body_bytes:
            raise ValueError(
                f"{_PREFIX}MAX_OPEN_BODY_BYTES must be at least {_PREFIX}MAX_BODY_BYTES {self.max_body_bytes}, so that "
                f"any body can be received, got {self.max_open_body_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _a_request_may_wait(self) -> "Settings":
        if self.max_waiting < self.max_batch_size:
            raise ValueError(
                f"{_PREFIX}MAX_WAITING must be at least {_PREFIX}MAX_BATCH_SIZE {self.max_batch_size}, so that any "
                f"request can be answered, got {self.max_waiting}"
            )
        return self

    @property
    def limits(self) -> Limits:
        """What preprocessing accepts from a caller."""
        return Limits(
            max_image_bytes=self.max_image_bytes,
            max_image_pixels=self.max_image_pixels,
            max_audio_bytes=self.max_audio_bytes,
            max_text_chars=self.max_text_chars,
        )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins other than our own whose pages may ask."""
        return tuple(self.cors_origins.split())

    def runner_count(self, devices: Sequence[str]) -> int:
        """Batches computed at the same time, where there are these devices."""
        return self.runners or (_RUNNERS_ON_A_GPU if self._is_on_a_gpu(devices) else usable_cores())

    def load_settings(self, devices: Sequence[str]) -> LoadSettings:
        """How models are computed, where there are these devices."""
        runners = self.runner_count(devices)
        own_threads = 0 if self._is_on_a_gpu(devices) else max(1, usable_cores() // runners)
        return LoadSettings(
            device=self.device,
            threads=self.runtime_threads or own_threads,
            # A runner decodes its batch itself, unless that leaves cores idle.
            decode_threads=self.decode_threads if self.decode_threads > runners else 0,
            token_limit=self.max_batch_tokens,
            limits=self.limits,
        )

    def _is_on_a_gpu(self, devices: Sequence[str]) -> bool:
        return self.device != "cpu" and "cuda" in devices

    @property
    def batch_limits(self) -> BatchLimits:
        """How inputs of different requests go together."""
        return BatchLimits(rows=self.max_batch_rows, tokens=self.max_batch_tokens)


def _refuse_misspelt_variables(fields: set[str]) -> None:
    # Other parts of the project have LABELSET_* variables of their own, so only a near miss is an error.
    for variable in sorted(name for name in map(str.upper, os.environ) if name.startswith(_PREFIX)):
        field = variable.removeprefix(_PREFIX).lower()
        near = difflib.get_close_matches(field, fields, n=1, cutoff=0.75)
        if field not in fields and near:
            raise InvalidSettings(f"{variable} is not a setting; did you mean {_PREFIX}{near[0].upper()}?")
