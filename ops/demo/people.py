"""The family of the demo: invented people with valid certificate numbers, insured in Ürümqi and in Hami."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kernel.ids import AdmDvs, FixmedinsCode, PsnNo
from kernel.money import Fen

URUMQI: Final = AdmDvs("650100")
HAMI: Final = AdmDvs("650500")
AREAS: Final = (URUMQI, HAMI)
HOSPITAL: Final = FixmedinsCode("H65010000017")


@dataclass(frozen=True, slots=True)
class Relative:
    """A person of the story."""

    psn_no: PsnNo
    name: str
    certno: str
    insutype: str
    area: AdmDvs
    area_name: str
    past_fen: Fen = 0
    current_fen: Fen = 0


PATIENT: Final = Relative(
    PsnNo("650100000000001"), "王建国", "650103198503124518", "310", URUMQI, "乌鲁木齐 Ürümqi", 8_000, 5_050
)
WIFE: Final = Relative(
    PsnNo("650500000000002"), "李秀英", "652201198707250027", "310", HAMI, "哈密 Hami", 40_000, 12_000
)
MOTHER: Final = Relative(
    PsnNo("650100000000004"), "李桂兰", "650102196009110043", "310", URUMQI, "乌鲁木齐 Ürümqi", 10_000, 0
)
FAMILY: Final = (PATIENT, WIFE, MOTHER)
AUTHORISED_FEN: Final = {MOTHER.psn_no: 50_000, WIFE.psn_no: 15_000}
WIFE_RAISED_FEN: Final[Fen] = 60_000
