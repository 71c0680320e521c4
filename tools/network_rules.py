"""Who may talk to whom: the NetworkPolicies let through what the settings ask for, and between our own pods no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any, Final

from tools.manifests import COMPONENT, Manifest, Rendering, Workload

Labels = Mapping[str, str]
NATS_PODS: Final = {"app.kubernetes.io/name": "nats"}
"""As the NATS chart labels its pods when the release is called ``nats``."""
NATS_PORT: Final = 4222
POSTGRES_PORT: Final = 5432
DNS_PORT: Final = 53


def cluster_pods(cluster: str) -> Labels:
    """As the CloudNativePG operator labels the pods of a cluster."""
    return {"cnpg.io/cluster": cluster}


def ways(rendering: Rendering, cluster_of: Mapping[str, str]) -> Iterator[str]:
    """Every way a process needs is open at both ends; ``cluster_of`` tells whose databases are in which cluster."""
    for workload in rendering.workloads:
        for direction in ("Ingress", "Egress"):
            if not any(_selecting(rendering, workload.labels, direction)):
                yield f"{workload.where}: no NetworkPolicy rules its {direction.lower()}"
        if not _names_open(rendering, workload.labels):
            yield f"{workload.where}: may not ask for names (DNS)"
        if (cluster := cluster_of.get(workload.process)) is not None:
            yield from _closed(rendering, workload, "its databases", cluster_pods(cluster), POSTGRES_PORT)
        if not workload.is_migration:
            yield from _closed(rendering, workload, "NATS", NATS_PODS, NATS_PORT)
    yield from _calls(rendering)


def _calls(rendering: Rendering) -> Iterator[str]:
    """A process reaches those whose address it is given, and no other of ours."""
    serving = {workload.name: workload for workload in rendering.workloads if not workload.is_migration}
    addressed = dict(_addressed(rendering))
    for (caller, called), port in sorted(addressed.items()):
        if called in serving:
            yield from _closed(rendering, serving[caller], called, serving[called].labels, port)
    for caller, called in permutations(sorted(serving), 2):
        for port in serving[called].container.get("ports", []):
            number, ends = port["containerPort"], (serving[caller].labels, serving[called].labels)
            if (caller, called) not in addressed and open_way(rendering, *ends, number):
                yield f"{serving[caller].where}: may reach {called} at {number}, but is never told to"


def open_way(rendering: Rendering, source: Labels, target: Labels, port: int) -> bool:
    """Whether pods with these labels, in our namespace, can reach each other at a TCP port."""
    ends = ((source, target, "Egress", "to"), (target, source, "Ingress", "from"))
    return all(
        any(
            _admits(rule, peer, other, port)
            for policy in _selecting(rendering, labels, direction)
            for rule in policy["spec"].get(direction.lower(), [])
        )
        for labels, other, direction, peer in ends
    )


def _closed(rendering: Rendering, workload: Workload, what: str, target: Labels, port: int) -> Iterator[str]:
    if not open_way(rendering, workload.labels, target, port):
        yield f"{workload.where}: no NetworkPolicy lets it reach {what} at {port}, at both ends"


def _addressed(rendering: Rendering) -> Iterator[tuple[tuple[str, str], int]]:
    """((process, process it is given the address of), port)."""
    for workload in rendering.workloads:
        for name, given in workload.environment.items():
            if name.endswith("_ADDRESS") and not workload.is_migration and given.value:
                host, _, port = given.value.removeprefix("dns:///").rpartition(":")
                yield (workload.name, host), int(port)


def _selecting(rendering: Rendering, labels: Labels, direction: str) -> Iterator[Manifest]:
    for policy in rendering.of_kind("NetworkPolicy"):
        if direction in policy["spec"]["policyTypes"] and _chosen(policy["spec"]["podSelector"], labels):
            yield policy


def _admits(rule: Manifest, peer: str, other: Labels, port: int) -> bool:
    if "ports" in rule and not any(
        one.get("protocol", "TCP") == "TCP" and one.get("port") == port for one in rule["ports"]
    ):
        return False
    return peer not in rule or any(
        "podSelector" in one and "namespaceSelector" not in one and _chosen(one["podSelector"], other)
        for one in rule[peer]
    )


def _names_open(rendering: Rendering, labels: Labels) -> bool:
    return any(
        one.get("protocol") == "UDP" and one.get("port") == DNS_PORT
        for policy in _selecting(rendering, labels, "Egress")
        for rule in policy["spec"].get("egress", [])
        for one in rule.get("ports", [])
    )


def _chosen(selector: Mapping[str, Any], labels: Labels) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        value, values = labels.get(expression["key"]), expression.get("values", [])
        match expression["operator"]:
            case "In":
                chosen = value in values
            case "NotIn":
                chosen = value not in values
            case "Exists":
                chosen = value is not None
            case _:
                chosen = value is None
        if not chosen:
            return False
    return True


def components(rendering: Rendering) -> Iterator[str]:
    """A NetworkPolicy names no component that is not there: it would let nobody through, or the wrong one later."""
    there = {workload.labels.get(COMPONENT) for workload in rendering.all_pods}
    for policy in rendering.of_kind("NetworkPolicy"):
        where, named = f"NetworkPolicy {policy['metadata']['name']}", set(_named(policy["spec"]))
        yield from (f"{where}: there is no component {name}" for name in sorted(named - there))


def _named(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if node.get("key") == COMPONENT:
            yield from node.get("values", [])
        if COMPONENT in node:
            yield node[COMPONENT]
        for inner in node.values():
            yield from _named(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _named(inner)
