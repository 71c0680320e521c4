"""The ``gongji`` command. A command's module imports what it needs when it is called, so that each starts fast."""

from __future__ import annotations

import typer

from ops.accounts.command import accounts
from ops.claims import claims
from ops.clearing.command import clearing
from ops.closing.command import alarms, deadletters, suspense
from ops.demo.command import demo
from ops.identity.command import identity
from ops.payments.command import payments
from ops.plan import plan
from ops.pledge_text import pledge_text
from ops.policy.command import policy
from ops.premiums import premiums
from ops.reconcile.command import reconcile
from ops.restore.command import restore
from ops.sandbox_verifier import sandbox_verifier
from ops.settlements.command import settlement
from ops.simulated_town import town
from ops.up import up
from ops.verify.command import verify

app = typer.Typer(
    name="gongji",
    help="Families pay each other's medical bills from their personal accounts (医保个人账户家庭共济).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(demo)
app.command()(plan)
app.command()(verify)
app.command()(town)
app.add_typer(policy)
app.add_typer(accounts)
app.add_typer(payments)
app.add_typer(clearing)
app.add_typer(settlement)
app.add_typer(identity)
app.add_typer(premiums)
app.add_typer(claims)
app.add_typer(pledge_text)
app.add_typer(sandbox_verifier)
app.add_typer(reconcile)
app.add_typer(restore)
app.add_typer(alarms)
app.add_typer(suspense)
app.add_typer(deadletters)


def main() -> None:
    """The entry point of the ``gongji`` script."""
    app()
