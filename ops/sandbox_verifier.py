"""A verifier for development: it looks at nobody and vouches for whoever is named.

It is a tool of its own, so that no service holds the code that makes attestations. Identity takes its word only where
``GONGJI_SANDBOX_VERIFIERS`` is true, which production refuses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import uuid4

import typer

from chassis.private_files import write_private_once
from kernel.callers import Caller
from ops.consent import Operator
from ops.options import HERE, Data, checked_address, give_up

VERIFIER_NO: Final = "sandbox"
NAME: Final = "沙箱核身 (sandbox)"
LIFETIME: Final = timedelta(minutes=5)
SEED_BYTES: Final = 32

sandbox_verifier = typer.Typer(
    name="sandbox-verifier",
    help="Vouch for faces in development: attestations that no production system takes.",
    no_args_is_help=True,
)
KeyFile = Annotated[Path, typer.Option("--key", help="The file with the sandbox verifier's key.")]
KEY_HERE: Final = Path("sandbox-verifier.json")


@dataclass(frozen=True, slots=True)
class SandboxKey:
    """The key of a sandbox verifier."""

    verifier_no: str
    kid: str
    seed: bytes = field(repr=False)

    @classmethod
    def new(cls, verifier_no: str = VERIFIER_NO) -> SandboxKey:
        """A fresh one."""
        return cls(verifier_no, f"sandbox-{secrets.token_hex(4)}", secrets.token_bytes(SEED_BYTES))

    @classmethod
    def read(cls, path: Path) -> SandboxKey:
        """The key of a file; ValueError or OSError if there is none."""
        try:
            kept: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls(kept["verifier_no"], kept["kid"], base64.b64decode(kept["seed"], validate=True))
        except (KeyError, TypeError, binascii.Error):
            raise ValueError(f"{path} is no key of a sandbox verifier") from None

    def write(self, path: Path) -> None:
        """Keeps it for its owner alone; FileExistsError if there is a file already."""
        kept = {"verifier_no": self.verifier_no, "kid": self.kid, "seed": base64.b64encode(self.seed).decode("ascii")}
        write_private_once(path, json.dumps(kept, indent=2) + "\n")

    @property
    def public_key(self) -> bytes:
        """The public half, as RegisterVerifier takes it."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  When called.

        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    def attestation(self, psn_no: str, purpose: str, /, *, now: datetime, **changed: object) -> str:
        """A compact JWS: this person's face was shown just now. ``changed`` claims make it a wrong one, for tests."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  When called.

        claims: dict[str, object] = {
            "iss": self.verifier_no,
            "sub": psn_no,
            "aud": "gongji-identity",
            "purpose": purpose,
            "outBizNo": uuid4().hex,
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
            **changed,
        }
        header = {"alg": "Ed25519", "kid": self.kid, "typ": "gongji-attestation"}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(signed.encode("ascii"))
        return f"{signed}.{_encoded(signature)}"


@sandbox_verifier.command("key")
def make_key(file: KeyFile = KEY_HERE) -> None:
    """Make a key of the sandbox verifier; a file that is there already is left as it is."""
    try:
        SandboxKey.new().write(file)
    except FileExistsError:
        give_up(f"{file} is there already")
    sys.stderr.write(f"{file}: made. Register it with `gongji sandbox-verifier register`.\n")


@sandbox_verifier.command("register")
def register(
    file: KeyFile = KEY_HERE,
    *,
    address: Annotated[
        str,
        typer.Option(callback=checked_address, help="HOST:PORT of the identity service, for one that runs elsewhere."),
    ] = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Register the sandbox verifier with a running system, which must allow it."""
    from kernel.failures import Failure  # noqa: PLC0415  So that every other command starts without it.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.

    place = address or address_of("identity", data)
    try:
        asyncio.run(_register(SandboxKey.read(file), place, caller=operator_of(operator)))
    except (OSError, ValueError) as problem:
        give_up(problem)
    except Failure as problem:
        give_up(f"the identity service refused: {problem}")
    sys.stderr.write("registered\n")


@sandbox_verifier.command("attest")
def attest(
    psn_no: Annotated[str, typer.Argument(metavar="PSN", help="The person whose face it shall have been.")],
    *,
    purpose: Annotated[
        str,
        typer.Option(
            help="REAL_NAME, JOIN_GROUP, ADD_WARD, BE_WARD, ACTIVATE_CARD, UNLOCK_PIN, EXPORT_DATA or OPEN_WALLET.",
        ),
    ],
    file: KeyFile = KEY_HERE,
) -> None:
    """Print an attestation of a person's face, good for five minutes, for VerifyAttestation."""
    try:
        key = SandboxKey.read(file)
    except (OSError, ValueError) as problem:
        give_up(problem)
    sys.stdout.write(key.attestation(psn_no, purpose, now=datetime.now(UTC)) + "\n")


async def _register(key: SandboxKey, address: str, *, caller: Caller) -> None:
    from chassis.rpc.client import channel  # noqa: PLC0415  So that every other command starts without it.
    from gongji.identity.v1 import attestations_pb2, attestations_pb2_grpc  # noqa: PLC0415  As above.

    async with channel(address, caller=caller) as opened:
        await attestations_pb2_grpc.AttestationServiceStub(opened).RegisterVerifier(
            attestations_pb2.RegisterVerifierRequest(
                verifier_no=key.verifier_no,
                kid=key.kid,
                public_key=key.public_key,
                name=NAME,
                is_sandbox=True,
                opter=caller.rpartition(":")[2],
            )
        )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
