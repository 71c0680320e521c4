"""Settings come from environment variables that begin with ``GONGJI_``, are checked once at start and never change.

A room's settings are a subclass with its own fields; the variable of a field is ``GONGJI_`` and the field's name in
capitals. No file is read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.addresses import PORT_MAX, has_possible_ports, is_address
from chassis.faults import SPEC_PATTERN
from kernel.failures import Failure

PREFIX: Final = "GONGJI_"
EXIT_BAD_SETTINGS: Final = 2


def _checked_listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) <= PORT_MAX):
        raise ValueError("must be HOST:PORT; port 0 means any free port")
    return text


def _checked_postgres(url: str) -> str:
    if urlsplit(url).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql://")
    return _checked_ports(url)


def _checked_nats(url: str) -> str:
    if urlsplit(url.split(",", maxsplit=1)[0]).scheme not in {"nats", "tls"}:
        raise ValueError("must begin with nats:// or tls://")
    return ",".join(map(_checked_ports, url.split(",")))


def _checked_ports(url: str) -> str:
    if not has_possible_ports(url):
        raise ValueError(f"has a port that is not between 1 and {PORT_MAX}")
    return url


def _checked_address(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"must be HOST:PORT, the port between 1 and {PORT_MAX}")
    return text


Listen = Annotated[str, AfterValidator(_checked_listen)]
"""``HOST:PORT`` where a server listens; port 0 means any free port."""
Address = Annotated[str, AfterValidator(_checked_address)]
"""Where another service answers: ``HOST:PORT``, ``dns:///HOST:PORT`` or ``unix:PATH``."""
PostgresUrl = Annotated[str, AfterValidator(_checked_postgres)]
"""A libpq URL: ``postgresql://user:password@host:5432/name``, or ``postgresql://user@/name?host=/folder/of/socket``."""
NatsUrl = Annotated[str, AfterValidator(_checked_nats)]
"""One or more NATS addresses, parted by commas."""


class ProcessSettings(BaseSettings):
    """What every process is told. A room adds fields in a subclass, each with a description and an example."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    environment: Literal["production", "development", "test"] = Field(
        default="production", description="What may be switched on: test switches are refused in production."
    )
    nats_url: NatsUrl = Field(
        description="Where NATS answers; several addresses are parted by commas.",
        examples=["nats://127.0.0.1:4222"],
        repr=False,
    )
    nats_nkey_file: FilePath | None = Field(
        default=None,
        description="A file with this process's nkey seed, where NATS tells its users apart by nkeys.",
        examples=["/run/secrets/gongji-bus/seed"],
    )
    bus_prefix: str = Field(
        default="gongji",
        pattern=r"^[a-z][a-z0-9_-]{0,40}$",
        description="Every subject and stream begins with it, so that several worlds can share a NATS server.",
        examples=["gongji"],
    )
    stream_replicas: int = Field(
        default=1, ge=1, le=5, description="Copies of the stream of events that this process makes; 3 in production."
    )
    grpc_listen: Listen = Field(default="127.0.0.1:0", description="Where gRPC listens.", examples=["0.0.0.0:7001"])
    health_listen: Listen | None = Field(
        default=None,
        description="A second, plaintext port for gRPC health alone (for probes when gRPC demands certificates).",
        examples=["0.0.0.0:7101"],
    )
    metrics_listen: Listen | None = Field(
        default=None,
        description="Where Prometheus metrics are served over HTTP; nowhere if empty.",
        examples=["0.0.0.0:7201"],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log line written."
    )
    access_log: Literal["all", "refused"] = Field(
        default="all", description="Whether each gRPC call is logged, or only those that were not answered with OK."
    )
    ready_file: Path | None = Field(
        default=None,
        description="Written (JSON: name, pid, ports) once the process is ready, removed when it stops.",
        examples=["/run/gongji/identity.ready"],
    )
    migrate_at_start: bool = Field(
        default=False, description="Bring the databases to the newest schema before serving (else a job does it)."
    )
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Connections kept for each database.")
    drain_s: float = Field(
        default=10.0, ge=0, le=300, description="How long running calls may take to finish after a stop signal."
    )
    drain_notice_s: float = Field(
        default=0.0, ge=0, le=60, description="Pause between saying NOT_SERVING and refusing calls, for balancers."
    )
    message_bytes_max: int = Field(
        default=64 << 10,
        ge=1024,
        le=64 << 20,
        description="The largest gRPC request that is read; times the calls at once, it bounds what a flood occupies.",
    )
    concurrent_rpcs_max: int = Field(
        default=512, ge=1, le=100_000, description="Calls worked on at once, streams apart; one more is SERVICE_BUSY."
    )
    connection_age_s: int = Field(
        default=300, ge=10, description="How long a client keeps one connection, so that new pods get their share."
    )
    fault_point: str | None = Field(
        default=None,
        description="Tests only: where this process kills itself (see chassis.faults).",
        examples=["settlement.decide.before_commit"],
    )

    fault_file: Path | None = Field(
        default=None,
        description="Tests only: where this process reads a fault point on SIGUSR1 (see chassis.faults).",
        examples=["run/settlement.fault"],
    )

    clock_off_s: float | None = Field(
        default=None,
        ge=-86_400,
        le=86_400,
        description="Tests only: how wrong the clock of this process's machine is.",
        examples=["-600"],
    )

    @field_validator("fault_point", "fault_file", "clock_off_s")
    @classmethod
    def _only_in_tests(cls, value: str | Path | float | None, info: ValidationInfo) -> str | Path | float | None:
        if value is not None and info.data.get("environment") != "test":
            raise ValueError("is allowed only where GONGJI_ENVIRONMENT is test")
        return value

    @field_validator("fault_point")
    @classmethod
    def _reads_as_a_spec(cls, spec: str | None) -> str | None:
        if spec is not None and not SPEC_PATTERN.fullmatch(spec):
            raise ValueError("must read name[#passage][+seconds]")
        return spec


class ServiceSettings(ProcessSettings):
    """A process with one database of its own (all but the ledger, which has one per area)."""

    database_url: PostgresUrl = Field(
        description="The service's own database.",
        examples=["postgresql://identity@127.0.0.1:5432/gongji_identity"],
        repr=False,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the documentation and the check of the Kubernetes manifests see it."""

    name: str
    variable: str
    type: str
    default: str | None
    """None if the setting must be given."""
    description: str
    example: str | None


Made = TypeVar("Made")
SettingsType = TypeVar("SettingsType", bound=ProcessSettings)


def variable_of(field: str) -> str:
    """``drain_s`` is read from ``GONGJI_DRAIN_S``."""
    return f"{PREFIX}{field.upper()}"


def settings_of(cls: type[ProcessSettings]) -> list[Setting]:
    """Every setting of a class, in the order written, those of the base class first."""
    return [
        Setting(
            name=name,
            variable=variable_of(name),
            type=_type_text(field.annotation),
            default=None if field.default is PydanticUndefined else _default_text(field.default),
            description=field.description or "",
            example=str(field.examples[0]) if field.examples else None,
        )
        for name, field in cls.model_fields.items()
    ]


def unknown_variables(classes: Iterable[type[ProcessSettings]], environ: Mapping[str, str]) -> list[str]:
    """The ``GONGJI_*`` variables that none of the classes reads: most likely a slip of the pen."""
    known = {variable_of(name) for cls in classes for name in cls.model_fields}
    return sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def load(cls: type[SettingsType]) -> SettingsType:
    """The settings out of the environment; else says on stderr which variable is wrong, why, and exits with 2.

    The value itself is never printed, since it may hold a password.
    """
    try:
        settings = cls()  # type: ignore[call-arg]  # The values come from the environment.
    except ValidationError as error:
        sys.stderr.write(complaint(cls, error))
        sys.exit(EXIT_BAD_SETTINGS)
    for name in unknown_variables([cls], os.environ):
        sys.stderr.write(f"warning: {name} is set, but {cls.__name__} knows no such setting\n")
    return settings


def made_at_start(make: Callable[[], Made], *, what: str) -> Made:
    """What a process makes of the files its settings name, before it serves.

    If they are refused: says on stderr what is not usable, where and why, and exits with 2, as for a wrong setting.
    """
    try:
        return make()
    except Failure as failure:
        sys.stderr.write(f"The {what} are not usable: {failure}\n")
        sys.exit(EXIT_BAD_SETTINGS)


def complaint(cls: type[ProcessSettings], error: ValidationError) -> str:
    """One line for each wrong variable: its name, what is wrong, an example of a right one."""
    examples = {setting.name: setting.example for setting in settings_of(cls)}
    lines = ["The settings are not usable:"]
    for problem in error.errors(include_input=False, include_url=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        reason = "is missing" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        example = examples.get(field)
        lines.append(f"  {variable_of(field)}: {reason}" + (f" (example: {example})" if example else ""))
    return "\n".join(lines) + "\n"


def _default_text(default: object) -> str:
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type_text(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
