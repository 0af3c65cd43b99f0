"""Every setting of the server: one frozen tree, unknown keys refused; the only reader of the environment.

A setting comes, in this order, from the command line (`--batching.max-queue 8192`), the environment
(`TANAGER_BATCHING__MAX_QUEUE=8192`), the TOML file given by `--config`, or its default.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from tanager_server.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence

ENV_PREFIX = "TANAGER_"
_NESTED = "__"

Device = Literal["cpu", "cuda"]
LogFormat = Literal["json", "text"]
Port = Annotated[int, Field(ge=0, le=65535)]
Host = Annotated[str, Field(min_length=1), AfterValidator(lambda host: host.removeprefix("[").removesuffix("]"))]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSettings(_Section):
    """Where and how the encoder runs."""

    device: Device = Field("cpu", description="cpu, or cuda (needs tanager[server-gpu])")
    threads: int = Field(0, ge=0, description="threads of one batch on the CPU; 0: measured at start")
    workers: int = Field(0, ge=0, le=256, description="batches encoded at a time; 0: measured at start")


class BatchingSettings(_Section):
    """Bounds of the dynamic batcher."""

    max_batch_tokens: int = Field(0, ge=0, description="padded tokens in a batch; 0: measured at start")
    batch_cost_tokens: int | None = Field(
        None, ge=0, description="what a batch costs beyond its padded tokens, in tokens; not given: measured at start"
    )
    max_batch_size: int = Field(1024, ge=1, description="texts in a batch")
    window: int = Field(256, ge=1, description="most urgent texts among which a batch is chosen by length")
    max_queue: int = Field(4096, ge=1, description="texts that may wait; a call that does not fit whole is refused")
    max_age_s: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="wait after which a text goes before those with nearer deadlines"
    )
    bulk_handicap_s: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="time by which texts of Embed let those of Recommend go first"
    )
    stuck_after_s: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="run of a batch after which it is given up, and UNAVAILABLE"
    )


class CacheSettings(_Section):
    """The cache of encoded texts."""

    max_mb: float = Field(32.0, ge=0, allow_inf_nan=False, description="memory for vectors and neighbours; 0: no cache")


class LimitSettings(_Section):
    """Bounds on callers."""

    max_calls: int = Field(1024, ge=1, description="calls answered at a time; more are refused at once")
    max_message_bytes: int = Field(16 << 20, ge=1 << 16, lt=1 << 31, description="size of a request or a response")
    default_deadline_s: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="deadline of a call whose client sets none"
    )
    keepalive_s: float = Field(
        30.0, ge=1, le=1e6, description="silence after which a client is pinged; as much later it is taken for gone"
    )
    max_connection_age_s: float = Field(
        600.0, gt=0, le=1e6, description="age after which a client is asked to reconnect"
    )


class TlsSettings(_Section):
    """TLS of the gRPC port; off when no certificate is given."""

    cert_file: Path | None = Field(None, description="PEM certificate chain")
    key_file: Path | None = Field(None, description="PEM private key")
    client_ca_file: Path | None = Field(None, description="PEM roots; given, clients must show a certificate")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file are given together or not at all")
        if self.client_ca_file and not self.cert_file:
            raise ValueError("client_ca_file needs cert_file and key_file")
        return self


class MetricsSettings(_Section):
    """The Prometheus endpoint."""

    enabled: bool = Field(True, description="whether to serve /metrics")
    host: Host = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(9464, description="0: any free port")


class LogSettings(_Section):
    """Logging, to stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least severe level written")
    format: LogFormat = Field("json", description="json for machines, text for people")
    calls: bool = Field(True, description="whether every call is logged, or failed ones only")


class ShutdownSettings(_Section):
    """What SIGTERM starts: NOT_SERVING, the delay, then no new calls, and time for those in flight."""

    drain_delay_s: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="still serving while balancers see NOT_SERVING"
    )
    grace_s: float = Field(25.0, ge=0, allow_inf_nan=False, description="time for calls in flight to finish")


class StateSettings(_Section):
    """How what is written to the server is kept."""

    survives: Literal["power", "process"] = Field(
        "power", description="what an acknowledged write survives: the loss of power, or (quicker) of the process alone"
    )
    max_waiting_rows: int = Field(100_000, ge=1, description="rows that may wait to be written; more are refused")


class EventSettings(_Section):
    """What events mean."""

    weights: dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] = Field(
        {
            "view": 0.3,
            "click": 1.0,
            "like": 1.0,
            "save": 1.0,
            "share": 1.0,
            "play": 1.0,
            "complete": 1.0,
            "add_to_cart": 1.0,
            "purchase": 1.0,
            "skip": -0.3,
            "dislike": -1.0,
            "hide": -1.0,
        },
        description="weight of an event that tells none, by its type; other types must tell theirs",
    )


class TrendSettings(_Section):
    """What is counted of what users take up lately."""

    half_lives_h: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] = Field(
        (24.0, 1.0, 168.0), min_length=1, max_length=8, description="half-lives of events in hours, the usual one first"
    )


class ImpressionSettings(_Section):
    """What is logged of the lists that users were shown, so that their events can be joined to it; needs state."""

    share: float = Field(
        1.0, ge=0, le=1, description="share of the lists for a user_id that are logged, and have an attribution token"
    )
    keep_days: float = Field(90.0, gt=0, le=36_500, description="days after which they are removed")


class ExplorationSettings(_Section):
    """What is left to chance in the lists of users, to learn what else they like: see `propensity` of a result."""

    share: float = Field(0.0, ge=0, le=0.5, description="probability of a place to be given by lot; 0: off")
    keep_first: int = Field(3, ge=0, le=1_000, description="places of a list that never are, its first")
    candidates: int = Field(30, ge=1, le=1_000, description="items among which is drawn, those that come next by score")
    new_items: int = Field(
        10, ge=0, le=100, description="latest written items beside them, of those that few users took up"
    )


class Settings(BaseSettings):
    """Settings of `tanager-server`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED)

    bundle: Path = Field(description="directory made by `tanager-export bundle`")
    bundles: Path | None = Field(
        None,
        description="directory of bundles, each in its own, any of which can be served in the place of `bundle` while "
        "the server runs; the state remembers which",
    )
    state: Path | None = Field(
        None, description="directory for what is written: items, users, events; not given: nothing can be"
    )
    backups: Path | None = Field(
        None, description="directory that backups of the state are made in; not given: none are"
    )
    config: Path | None = Field(None, description="TOML file with any of these settings")
    host: Host = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: Port = Field(50051, description="gRPC port; 0: any free port")
    encoder: EncoderSettings = EncoderSettings()
    batching: BatchingSettings = BatchingSettings()
    cache: CacheSettings = CacheSettings()
    limits: LimitSettings = LimitSettings()
    tls: TlsSettings = TlsSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    storage: StateSettings = StateSettings()
    events: EventSettings = EventSettings()
    trends: TrendSettings = TrendSettings()
    impressions: ImpressionSettings = ImpressionSettings()
    exploration: ExplorationSettings = ExplorationSettings()


def load_settings(argv: Sequence[str]) -> Settings:
    """Builds the settings from command line, environment and file.

    Args:
        argv: arguments after the program's name; `--help` and `--version` print and exit.

    Raises:
        StartupError: a setting is unknown, missing or out of its bounds; it is named.
    """
    config = _config_file(argv)

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            command_line = CliSettingsSource[Any](
                settings_cls,
                cli_prog_name="tanager-server",
                cli_parse_args=[_kebab(argument) for argument in argv],
                cli_exit_on_error=False,
                cli_kebab_case=True,
                cli_hide_none_type=True,
                cli_avoid_json=True,
                cli_implicit_flags=False,
            )
            file = TomlConfigSettingsSource(settings_cls, toml_file=config)
            environment = EnvSettingsSource(settings_cls)
            environment.env_vars = {k: v for k, v in environment.env_vars.items() if not _is_service_link(k, v)}
            return (command_line, environment, file)

    Layered.__doc__ = "Serves a bundle over gRPC."
    if unknown := _unknown_variables():
        raise StartupError(f"{unknown[0]}: no such setting; `tanager-server --help` lists them")
    try:
        return Layered()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {_mend(e['type'], e['msg'])}" for e in error.errors())
        raise StartupError(problems) from error
    except (SettingsError, tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise StartupError(f"{config or 'settings'}: {error}") from error


def _config_file(argv: Sequence[str]) -> Path | None:
    """The file must be known before the sources can be layered."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, default=os.environ.get(f"{ENV_PREFIX}CONFIG"))
    config = parser.parse_known_args(argv)[0].config
    if config is not None and not Path(config).is_file():
        raise StartupError(f"config: {config} is no file")
    return config and Path(config)


def _unknown_variables() -> list[str]:
    """Variables that look like settings and are none: a misspelt setting must not be passed over."""
    known = _variables(Settings, ENV_PREFIX)
    return sorted(
        name
        for name, value in os.environ.items()
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known and not _is_service_link(name, value)
    )


def _is_service_link(name: str, value: str | None) -> bool:
    """Whether Kubernetes set the variable for a service that is called tanager: TANAGER_PORT=tcp://10.0.0.1:50051."""
    return name.upper().startswith(("TANAGER_PORT_", "TANAGER_SERVICE_")) or (value or "").startswith("tcp://")


def _kebab(argument: str) -> str:
    """An option as `--help` spells it, also if it is written as in the file: `--batching.max_queue`."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value


def _variables(section: type[BaseModel], prefix: str) -> set[str]:
    names = {"TANAGER_TARGET"}  # the client's
    for name, field in section.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        names.add(variable)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= _variables(field.annotation, f"{variable}{_NESTED}")
    return names


def _mend(kind: str, message: str) -> str:
    return {
        "missing": "required; give it as an option, in the environment or in the file",
        "extra_forbidden": "no such setting; `tanager-server --help` lists them",
    }.get(kind, message)
