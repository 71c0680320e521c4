"""What a funder lets be spent, and what each civil month has taken of it (domain §2, ADR 27)."""

from __future__ import annotations

from kernel.ids import AuthorisationId
from kernel.money import Fen
from kernel.values import value


@value
class Limits:
    """What a funder lets be spent: in all, by one payment, in one civil month; None = no limit."""

    authorised_fen: Fen | None = None
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None


@value
class MonthUse:
    """What one civil month (yyyymm, Asia/Shanghai) took under an authorisation that counts months (ADR 27).

    ``limit_fen`` is the limit under which the latest hold was placed, None where none was: at that moment
    ``used_fen + held_fen <= limit_fen``, and since then they have only become less together.
    """

    authorisation_id: AuthorisationId
    month: int
    used_fen: Fen = 0
    held_fen: Fen = 0
    limit_fen: Fen | None = None

    @property
    def total_fen(self) -> Fen:
        """Used and held count together."""
        return self.used_fen + self.held_fen


@value
class CarriedMonth:
    """What a civil month (yyyymm) took under a binding in the area that its funder's account has left."""

    month: int
    used_fen: Fen
