"""NATS and PostgreSQL by reference: what deploy/nats and deploy/postgres say is what the processes are told to use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tools import bus_permissions
from tools.bus_permissions import MODULES
from tools.manifest_rules import has_own_database, settings_class
from tools.manifests import Rendering, Workload

NATS_VALUES: Final = Path("nats/values.yaml")
CLUSTERS: Final = Path("postgres/clusters.yaml")
LEDGER: Final = "ledger"


class Clusters:
    """deploy/postgres/clusters.yaml: which cluster holds which database, whose it is, where its password comes from."""

    def __init__(self, deploy: Path) -> None:
        documents = list(yaml.safe_load_all((deploy / CLUSTERS).read_text(encoding="utf-8")))
        self.databases: dict[str, Any] = {
            one["spec"]["name"]: one["spec"] for one in documents if one["kind"] == "Database"
        }
        self.roles: dict[str, dict[str, str]] = {
            one["metadata"]["name"]: {
                role["name"]: role.get("passwordSecret", {}).get("name", "")
                for role in one["spec"].get("managed", {}).get("roles", [])
            }
            for one in documents
            if one["kind"] == "Cluster"
        }

    def of_processes(self, areas: list[str]) -> dict[str, str]:
        """The cluster of each process, as far as its databases are there."""
        found = {}
        for process in MODULES:
            for name in _databases(process, areas):
                if name in self.databases:
                    found[process] = str(self.databases[name]["cluster"]["name"])
        return found


def areas_of(rendering: Rendering) -> list[str]:
    """The areas that the ledger is told to keep."""
    for workload in rendering.workloads:
        given = workload.environment.get("GONGJI_LEDGER_AREAS")
        if workload.process == LEDGER and given is not None and given.value:
            return given.value.split(",")
    return []


def bus(deploy: Path, rendering: Rendering) -> Iterator[str]:
    """NATS lets each process say and hear what its code does, under the prefix that the manifests give; no more."""
    where = f"deploy/{NATS_VALUES}"
    values = yaml.safe_load((deploy / NATS_VALUES).read_text(encoding="utf-8"))
    told = {
        variable: {one.environment[variable].value for one in rendering.workloads if variable in one.environment}
        for variable in ("GONGJI_BUS_PREFIX", "GONGJI_STREAM_REPLICAS")
    }
    prefixes = told["GONGJI_BUS_PREFIX"] or {settings_class(LEDGER).model_fields["bus_prefix"].default}
    if len(prefixes) > 1:
        yield f"{where}: the processes are told different prefixes: {', '.join(sorted(map(str, prefixes)))}"
        return
    yield from bus_permissions.findings(values, str(prefixes.pop()), where)
    servers = values["config"]["cluster"]["replicas"]
    for copies in told["GONGJI_STREAM_REPLICAS"]:
        if copies is not None and int(copies) > servers:
            yield f"{where}: {servers} servers cannot keep {copies} copies of a stream"


def databases(deploy: Path, rendering: Rendering) -> Iterator[str]:
    """Each process's databases are there, owned by a role whose password is in the secret that its pods read."""
    where, clusters = f"deploy/{CLUSTERS}", Clusters(deploy)
    expected = {name: process for process in MODULES for name in _databases(process, areas_of(rendering))}
    yield from (f"{where}: there is no database {name}" for name in sorted(expected.keys() - clusters.databases))
    yield from (f"{where}: nobody uses {name}" for name in sorted(clusters.databases.keys() - expected))
    read = {workload.process: _database_secret(workload) for workload in rendering.workloads}
    for name, process in expected.items():
        if (database := clusters.databases.get(name)) is None:
            continue
        roles = clusters.roles.get(database["cluster"]["name"], {})
        if database["owner"] not in roles:
            yield f"{where}: {name} is owned by {database['owner']}, which is no role of {database['cluster']['name']}"
        elif roles[database["owner"]] != read.get(process):
            yield f"{where}: the password of {database['owner']} is not in {read.get(process)}, which {process} reads"


def _databases(process: str, areas: list[str]) -> list[str]:
    return [f"gongji_{process}"] if has_own_database(process) else [f"gongji_{process}_{area}" for area in areas]


def _database_secret(workload: Workload) -> str | None:
    for name in ("GONGJI_DATABASE_URL", "GONGJI_LEDGER_DATABASE_URL_TEMPLATE"):
        given = workload.environment.get(name)
        if given is not None and given.secret is not None:
            return given.secret[0]
    return None
