"""医疗类别: which transaction settles which kind of care, and which of them may be settled in parts (domain §5, §6)."""

from __future__ import annotations

from typing import Final

from kernel.failures import Failure, Kind

OF_PHARMACIES: Final = frozenset({"2101", "2102", "2103"})
"""The transactions a pharmacy sends; all others are a hospital's."""
OF_INPATIENTS: Final = frozenset({"2303", "2304", "2305"})
"""The transactions of 住院."""
_LEADING: Final = 2
"""Areas add digits of their own behind the national two: 140101 is 14, 门诊慢特病."""
AT_PHARMACIES: Final = frozenset({"11", "14", "41"})
"""门诊统筹 and 门诊慢特病 where the pharmacy serves them, 定点药店购药."""
OF_OUTPATIENTS: Final = frozenset({"11", "12", "13", "14", "15", "16", "17", "18", "19", "51", "53", "91"})
"""普通门诊, 挂号, 急诊, 门诊慢特病 and what areas number beside them; 生育门诊, 计划生育; 其他门诊."""
INPATIENT: Final = frozenset({"21", "22", "23", "24", "25", "26", "27", "28", "29", "52", "53", "92"})
"""普通住院, 外伤, 转外诊治, 急诊转住院 and what areas number beside them; 生育住院, 计划生育; 其他住院."""


def check_med_type(med_type: str, *, infno: str) -> None:
    """MED_TYPE_NOT_FOR_TRANSACTION where the care is not settled by this transaction."""
    if infno in OF_PHARMACIES:
        allowed = AT_PHARMACIES
    elif infno in OF_INPATIENTS:
        allowed = INPATIENT
    else:
        allowed = OF_OUTPATIENTS
    if med_type[:_LEADING] not in allowed:
        raise Failure(Kind.INVALID, "MED_TYPE_NOT_FOR_TRANSACTION", field="med_type", med_type=med_type, infno=infno)


def check_agent_may(infno: str) -> None:
    """AGENT_NOT_FOR_TRANSACTION: 代买药 is for medicine that is carried away, not for a stay."""
    if infno in OF_INPATIENTS:
        raise Failure(Kind.INVALID, "AGENT_NOT_FOR_TRANSACTION", field="agent_ec_token", infno=infno)


def check_interim(*, interim: bool, infno: str) -> None:
    """INTERIM_NOT_FOR_TRANSACTION: 中途结算 is 住院's alone."""
    if interim and infno not in OF_INPATIENTS:
        raise Failure(Kind.INVALID, "INTERIM_NOT_FOR_TRANSACTION", field="mid_setl_flag", infno=infno)
