"""The way to the services: channels with mutual TLS, or in the open where that is meant."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

CHANNEL_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
"""Retries are this client's own business: the transport knows nothing of keys. A service that is back is found within
seconds; by default the transport would look for it every two minutes only, longer than a request is waited for."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: who may vouch for the services, and the terminal's own certificate with its key (mTLS).

    Without certificate and key the services alone are proven. ``server_name`` is the name in their certificate where
    they are reached by another one. The files are read when a channel is made.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate")

    def credentials(self) -> grpc.ChannelCredentials:
        """OSError if a file cannot be read; ValueError if it holds no PEM."""
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca, "CERTIFICATE"),
            certificate_chain=None if self.certificate is None else _pem(self.certificate, "CERTIFICATE"),
            private_key=None if self.key is None else _pem(self.key, "PRIVATE KEY"),
        )


def channel_to(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A long-lived channel to HOST:PORT; nothing is connected before the first call."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    options = list(CHANNEL_OPTIONS)
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.aio.secure_channel(address, tls.credentials(), options=[*options, *named])


def stays_here(address: str) -> bool:
    """Whether HOST:PORT is this machine, so that nobody in between can listen."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pem(path: Path, kind: str) -> bytes:
    content = path.read_bytes()
    if b"-----BEGIN " not in content or kind.encode() not in content:
        raise ValueError(f"{path} holds no {kind} in PEM form")
    return content
