"""Renders the manifests, validates them, and holds settings, ports, subjects and databases in them against the code.

``make k8s-check``. A finding is a line that says what is wrong and where; any finding makes the exit code 1. Without
``kubectl`` nothing can be rendered, and that is said and is a failure, not a silent pass. With ``--write`` the table of
settings in deploy/README.md is written anew.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chassis.settings import Setting, settings_of
from tools import manifest_rules, network_rules, server_rules
from tools.bus_permissions import MODULES
from tools.manifests import CannotRender, Rendering, Workload, rendered

DEPLOY: Final = Path(__file__).resolve().parent.parent / "deploy"
FOLDERS: Final = ("base", "overlays/development", "overlays/production")
BASE: Final = FOLDERS[0]
PRODUCTION: Final = frozenset({"base", "overlays/production"})
README: Final = Path("README.md")
TABLE_BEGIN: Final = "<!-- Settings: written by `python -m tools.check_kubernetes --write`. -->"
TABLE_END: Final = "<!-- End of the settings. -->"
NO_KUBECTL: Final = "kubectl is not installed, so the manifests cannot be rendered or checked; install it and run again"


def findings(deploy: Path, rendering: Rendering) -> Iterator[str]:
    """Everything that is wrong with one rendering, and with what deploy/ says beside it."""
    for rule in manifest_rules.EVERYWHERE:
        yield from rule(rendering)
    if rendering.folder in PRODUCTION:
        yield from manifest_rules.production(rendering)
    clusters = server_rules.Clusters(deploy).of_processes(server_rules.areas_of(rendering))
    yield from network_rules.ways(rendering, clusters)
    yield from network_rules.components(rendering)
    yield from server_rules.bus(deploy, rendering)
    yield from server_rules.databases(deploy, rendering)
    yield from secrets_told(deploy, rendering)
    if rendering.folder == BASE:
        yield from table_told(deploy, rendering)


def secrets_told(deploy: Path, rendering: Rendering) -> Iterator[str]:
    """What a pod reads and no manifest makes stands in the README: each secret with its keys, each ConfigMap."""
    lines = (deploy / README).read_text(encoding="utf-8").splitlines()
    made = {one["metadata"]["name"] for one in rendering.of_kind("ConfigMap")}
    volumes = (volume for workload in rendering.all_pods for volume in workload.pod.get("volumes", []))
    for name in sorted({volume["configMap"]["name"] for volume in volumes if "configMap" in volume} - made):
        if not any(f"`{name}` (ConfigMap)" in line for line in lines):
            yield f"deploy/{README}: does not tell of the ConfigMap {name}"
    wanted = {secret for workload in rendering.all_pods for secret in _secrets_of(workload)}
    for name, key in sorted(wanted):
        if not any(f"`{name}`" in line and f"`{key}`" in line for line in lines):
            yield f"deploy/{README}: does not tell of the secret {name} with the key {key}"


def _secrets_of(workload: Workload) -> Iterator[tuple[str, str]]:
    """(secret, key) that a pod reads, as a variable or as a file that a variable names."""
    given = workload.environment.values()
    yield from (one.secret for one in given if one.secret is not None)
    places = {mount["name"]: f"{mount['mountPath']}/" for mount in workload.container.get("volumeMounts", [])}
    for volume in workload.pod.get("volumes", []):
        place = places.get(volume["name"])
        if "secret" not in volume or place is None:
            continue
        for one in given:
            if one.value is not None and one.value.startswith(place):
                yield volume["secret"]["secretName"], one.value.removeprefix(place)


def settings_left(rendering: Rendering) -> dict[str, tuple[Setting, list[str]]]:
    """Every setting that the manifests leave at its default, with the processes that have it."""
    found: dict[str, tuple[Setting, list[str]]] = {}
    for workload in rendering.workloads:
        if workload.is_migration:
            continue
        for setting in settings_of(manifest_rules.settings_class(workload.process)):
            if setting.variable not in workload.environment:
                found.setdefault(setting.variable, (setting, []))[1].append(workload.process)
    return found


def settings_table(rendering: Rendering) -> str:
    """The README's table of them."""
    rows = [TABLE_BEGIN, "| setting | processes | default | what it says |", "|---|---|---|---|"]
    for variable, (setting, processes) in sorted(settings_left(rendering).items()):
        which = "all" if len(processes) == len(MODULES) else ", ".join(name for name in MODULES if name in processes)
        default = f"`{setting.default}`" if setting.default else "none"
        rows.append(f"| `{variable}` | {which} | {default} | {setting.description} |")
    return "\n".join([*rows, TABLE_END])


def table_told(deploy: Path, rendering: Rendering) -> Iterator[str]:
    """A setting of a process is either given by the manifests or stands in the README's table with its default."""
    if settings_table(rendering) not in (deploy / README).read_text(encoding="utf-8"):
        yield f"deploy/{README}: the table of settings is out of date: python -m tools.check_kubernetes --write"


def write_table(deploy: Path, rendering: Rendering) -> None:
    """Puts the table where the README has its marks."""
    text = (deploy / README).read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    (deploy / README).write_text(before + settings_table(rendering) + after, encoding="utf-8")


def main() -> None:
    """Print every finding; exit 1 if there is one."""
    if shutil.which("kubectl") is None:
        sys.exit(NO_KUBECTL)
    try:
        renderings = [rendered(DEPLOY, folder) for folder in FOLDERS]
    except CannotRender as refusal:
        sys.exit(str(refusal))
    if sys.argv[1:] == ["--write"]:
        write_table(DEPLOY, renderings[0])
    found = [f"{rendering.folder}: {finding}" for rendering in renderings for finding in findings(DEPLOY, rendering)]
    if found:
        sys.exit("\n".join(found))
    objects = sum(len(rendering.manifests) for rendering in renderings)
    print(f"{objects} objects in {len(renderings)} renderings: valid, and as the code says")  # noqa: T201  Its output.


if __name__ == "__main__":
    main()
