"""What a journal may keep of an answer."""

from __future__ import annotations

from gongji.settlement.v1 import settlement_pb2 as pb


def nameless(answer: pb.Settlement | pb.Replan | pb.Plan) -> bytes:
    """The answer as the journal may keep it: without names, masked as they are."""
    kept = type(answer)()
    kept.CopyFrom(answer)  # type: ignore[arg-type]  # Both are of one type.
    people: list[pb.FunderShare | pb.SkippedFunder]
    match kept:
        case pb.Settlement():
            kept.ClearField("psn_name_masked")
            kept.ClearField("agent_name_masked")
            people = [*kept.funders]
        case pb.Replan():
            people = [*kept.plan.funders, *kept.plan.skipped]
        case _:
            people = [*kept.funders, *kept.skipped]
    for person in people:
        person.ClearField("name_masked")
    return kept.SerializeToString()
