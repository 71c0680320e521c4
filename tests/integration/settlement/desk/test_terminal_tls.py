"""The terminal's own certificate: before a desk that demands one, nobody else says anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, Journal, Patience, Terminal, Tls, Unanswered
from tests.integration.settlement.desk.counter import Gate
from tests.integration.settlement.desk.test_terminal import plan_of
from tests.integration.settlement.desk.town import HOSPITAL, Town

HASTY: Final = Patience(attempt_s=5, request_s=0.2, pause_first_s=0.05)
SERVER: Final = "desk.example"


class Authority:
    """Somebody who signs certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._written(f"{name}.pem", self._certificate(self._name, self._key, ca=True))

    def issued(self, name: str) -> tuple[Path, Path]:
        """A certificate of this name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._written(f"{name}.pem", self._certificate(subject, key, ca=False)),
            self._written(f"{name}.key", private),
        )

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER)]), critical=False)
        )
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _written(self, name: str, content: bytes) -> Path:
        file = self._folder / name
        file.write_bytes(content)
        return file


@asynccontextmanager
async def locked_door(town: Town, authority: Authority) -> AsyncIterator[str]:
    """The desk behind a server that demands a certificate of this authority; its address."""
    certificate, key = authority.issued("server")
    server = grpc.aio.server(handlers=[Gate(town.channel)])
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], authority.file.read_bytes(), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def settles(town: Town, folder: Path, address: str, tls: Tls | None) -> bool:
    """Whether a terminal with these settings pays a bill; if not, its request stays in the journal."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        Journal(folder / f"{patient}.db") as journal,
        Terminal.connected(
            settlement_address=address,
            identity_address=address,
            journal=journal,
            fixmedins_code=HOSPITAL,
            terminal_no="T01",
            number=next(town.terminals),
            patience=HASTY,
            tls=tls,
        ) as terminal,
    ):
        try:
            outcome = await terminal.settle(plan, care=Care.OUTPATIENT)
        except Unanswered:
            assert len(await journal.unanswered()) == 1
            return False
    assert isinstance(outcome, pb.Settlement)
    return True


async def test_a_terminal_with_its_certificate_pays(town: Town, tmp_path: Path) -> None:
    """And the desk is proven by the name in its own."""
    authority = Authority(tmp_path, "authority")
    async with locked_door(town, authority) as address:
        assert await settles(town, tmp_path, address, Tls(authority.file, *authority.issued("t01"), SERVER))


@pytest.mark.parametrize("wrong", ["no TLS", "no certificate", "another authority's", "another server's name"])
async def test_whoever_cannot_prove_himself_says_nothing(town: Town, tmp_path: Path, wrong: str) -> None:
    """Neither side talks to a stranger; the request stays in the journal until the settings are right."""
    authority = Authority(tmp_path, "authority")
    own = authority.issued("t01")
    tls = {
        "no TLS": None,
        "no certificate": Tls(authority.file, server_name=SERVER),
        "another authority's": Tls(authority.file, *Authority(tmp_path, "stranger").issued("t02"), SERVER),
        "another server's name": Tls(authority.file, *own, "desk.elsewhere.example"),
    }[wrong]
    async with locked_door(town, authority) as address:
        assert not await settles(town, tmp_path, address, tls)
