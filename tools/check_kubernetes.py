"""Renders the manifests, validates them, and holds settings, ports and subjects in them against the code.

A finding is a line that says what is wrong and where; any finding makes the exit code 1. Without ``kubectl`` nothing
can be rendered, and that is said and is a failure, not a silent pass.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from chassis.settings import PREFIX, ProcessSettings, settings_of

ROOT: Final = Path(__file__).resolve().parent.parent
RENDERED: Final = ("base", "overlays/development", "overlays/production")
MODULES: Final = {
    "identity": "services.identity.app",
    "family": "services.family.app",
    "settlement": "services.settlement.app",
    "ledger": "services.settlement.ledger.app",
    "notify": "services.notify.app",
}
PORTS: Final = {"grpc": "GONGJI_GRPC_LISTEN", "health": "GONGJI_HEALTH_LISTEN", "metrics": "GONGJI_METRICS_LISTEN"}
KINDS_WITHOUT_SCHEMA: Final[frozenset[str]] = frozenset()
"""Custom kinds that may appear in the rendered manifests although no schema of theirs is at hand: none today."""

Manifest = Mapping[str, Any]


def settings_class(process: str) -> type[ProcessSettings]:
    """The Settings class that a process's app.py defines."""
    module = importlib.import_module(MODULES[process])
    found: type[ProcessSettings] = module.Settings
    return found


def rendered(folder: str) -> list[Manifest]:
    """The objects that ``kubectl kustomize`` makes of a folder."""
    result = subprocess.run(  # noqa: S603  Fixed arguments.
        ["kubectl", "kustomize", str(ROOT / "deploy" / "kubernetes" / folder)],  # noqa: S607  kubectl is looked up.
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"{folder} does not render:\n{result.stderr}")
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def schema_findings(folder: str, manifests: list[Manifest]) -> Iterator[str]:
    """What kubernetes-validate says; a kind without a schema counts, because the tool itself lets it pass."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump_all(manifests, file)
        file.flush()
        result = subprocess.run(  # noqa: S603  Fixed arguments.
            [str(Path(sys.executable).parent / "kubernetes-validate"), "--strict", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    for line in (result.stdout + result.stderr).splitlines():
        if not line.startswith("INFO") and not any(kind in line for kind in KINDS_WITHOUT_SCHEMA):
            yield f"{folder}: {line}"
    if result.returncode != 0:
        yield f"{folder}: kubernetes-validate exited with {result.returncode}"


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, str, Manifest]]:
    """(process, object, container) of every container of every Deployment and Job."""
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "Job"}:
            name = manifest["metadata"]["name"]
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                yield name.removesuffix("-migrate"), f"{manifest['kind']} {name}", container


def setting_findings(manifests: list[Manifest]) -> Iterator[str]:
    """Each GONGJI_* variable is a setting of that process, and each setting without a default is given."""
    for process, where, container in containers(manifests):
        settings = settings_of(settings_class(process))
        known = {setting.variable for setting in settings}
        given = {entry["name"] for entry in container["env"] if entry["name"].startswith(PREFIX)}
        yield from (f"{where}: {name} is no setting of {MODULES[process]}" for name in sorted(given - known))
        needed = {setting.variable for setting in settings if setting.default is None}
        yield from (f"{where}: {name} must be given" for name in sorted(needed - given))
        if MODULES[process] not in container["command"]:
            yield f"{where}: does not start {MODULES[process]}"


def port_findings(manifests: list[Manifest]) -> Iterator[str]:
    """A container port is the port its process is told to listen on; probes and services name ports that exist."""
    ports_of: dict[str, dict[str, int]] = {}
    for process, where, container in containers(manifests):
        if "ports" in container:
            ports_of[process] = {port["name"]: port["containerPort"] for port in container["ports"]}
            yield from _container_port_findings(where, container, ports_of[process])
    for manifest in manifests:
        if manifest["kind"] == "Service":
            process = manifest["spec"]["selector"]["app.kubernetes.io/component"]
            for port in manifest["spec"]["ports"]:
                if port["targetPort"] not in ports_of[process]:
                    yield f"Service {process}: no container port is called {port['targetPort']}"


def _container_port_findings(where: str, container: Manifest, ports: Mapping[str, int]) -> Iterator[str]:
    listening = {
        entry["name"]: int(entry["value"].rsplit(":", 1)[1])
        for entry in container["env"]
        if entry["name"] in PORTS.values()
    }
    for name, number in ports.items():
        if listening.get(PORTS.get(name, "")) != number:
            yield f"{where}: port {name} is {number}, but {PORTS.get(name, name)} says otherwise"
    for probe in ("startupProbe", "readinessProbe"):
        if container[probe]["grpc"]["port"] != ports.get("health"):
            yield f"{where}: {probe} does not ask the health port"


def address_findings(manifests: list[Manifest]) -> Iterator[str]:
    """An address of another room names a Service and port that exist in the same manifests."""
    services = {
        f"{manifest['metadata']['name']}:{port['port']}"
        for manifest in manifests
        if manifest["kind"] == "Service"
        for port in manifest["spec"]["ports"]
    }
    for _, where, container in containers(manifests):
        for entry in container["env"]:
            if entry["name"].endswith("_ADDRESS") and entry["value"].removeprefix("dns:///") not in services:
                yield f"{where}: {entry['name']} names {entry['value']}, which is no Service here"


def hardening_findings(manifests: list[Manifest]) -> Iterator[str]:
    """Restricted pod security, resources and no API token, for every container."""
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "Job"}:
            pod = manifest["spec"]["template"]["spec"]
            security = pod.get("securityContext", {})
            where = f"{manifest['kind']} {manifest['metadata']['name']}"
            if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
                yield f"{where}: pod security is not restricted"
            if pod.get("automountServiceAccountToken") is not False:
                yield f"{where}: an API token is mounted"
    for _, where, container in containers(manifests):
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities", {}).get("drop") != [
            "ALL"
        ]:
            yield f"{where}: container security is not restricted"
        if not security.get("readOnlyRootFilesystem"):
            yield f"{where}: the root file system can be written"
        if "memory" not in container["resources"]["limits"] or "cpu" not in container["resources"]["requests"]:
            yield f"{where}: no memory limit or CPU request"


SUBJECT_WORDS: Final = re.compile(r'"\{[a-z_.]*prefix\}\.([a-z{}_.]+)"')


def subjects_in_code() -> set[str]:
    """The subjects the code builds from the bus prefix, with every variable part as ``*``."""
    found = set()
    for folder in ("chassis", "services"):
        for file in (ROOT / folder).rglob("*.py"):
            for match in SUBJECT_WORDS.finditer(file.read_text(encoding="utf-8")):
                found.add("gongji." + re.sub(r"\{[^}]*\}", "*", match.group(1)))
    return found


def subject_findings() -> Iterator[str]:
    """Each subject NATS permits is one the code speaks, and the other way round."""
    values = yaml.safe_load((ROOT / "deploy" / "nats" / "values.yaml").read_text(encoding="utf-8"))
    permitted = {
        subject
        for user in values["config"]["merge"]["authorization"]["users"]
        for side in ("publish", "subscribe")
        for subject in user["permissions"].get(side, [])
        if subject.startswith("gongji.")
    }
    general = {re.sub(r"^gongji\.event\.[a-z]+\.>$", "gongji.event.*.*", subject) for subject in permitted}
    spoken = subjects_in_code()
    yield from (
        f"deploy/nats/values.yaml: {subject} is spoken nowhere in the code" for subject in sorted(general - spoken)
    )
    yield from (
        f"deploy/nats/values.yaml: {subject} is spoken in the code, but nobody may"
        for subject in sorted(spoken - general)
    )


def main() -> None:
    """Print every finding; exit 1 if there is one."""
    if shutil.which("kubectl") is None:
        sys.exit("kubectl is not installed, so the manifests cannot be rendered or checked. Install it and run again.")
    findings = list(subject_findings())
    objects = 0
    for folder in RENDERED:
        manifests = rendered(folder)
        objects += len(manifests)
        for check in (setting_findings, port_findings, address_findings, hardening_findings):
            findings += [f"{folder}: {finding}" for finding in check(manifests)]
        findings += schema_findings(folder, manifests)
    if findings:
        sys.exit("\n".join(findings))
    print(f"{objects} objects in {len(RENDERED)} renderings: valid, and as the code says")  # noqa: T201  Its output.


if __name__ == "__main__":
    main()
