"""What must hold of the rendered manifests. Each rule yields findings: a line that says what is wrong and where."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import kubernetes_validate
from pydantic import ValidationError

from chassis.bus import DRAIN_TIMEOUT_S
from chassis.process import TASK_STOP_S
from chassis.rpc.server import LIVENESS
from chassis.settings import PREFIX, ProcessSettings, ServiceSettings, settings_of, variable_of
from tools.bus_permissions import MODULES
from tools.manifests import COMPONENT, MIGRATE, Given, Manifest, Rendering, Workload

KINDS_WITHOUT_SCHEMA: Final[frozenset[str]] = frozenset()
"""Custom kinds that may appear although no schema of theirs is at hand: none today."""
PORTS: Final = {"grpc": "GONGJI_GRPC_LISTEN", "health": "GONGJI_HEALTH_LISTEN", "metrics": "GONGJI_METRICS_LISTEN"}
PROBES: Final = {"startupProbe": LIVENESS, "livenessProbe": LIVENESS, "readinessProbe": ""}
WITHOUT_SERVICE: Final = frozenset({"ledger"})
"""Processes that nobody calls by gRPC."""
NATS_SERVICE: Final = "nats:4222"
"""What the NATS chart's Service is called when installed as deploy/README.md says."""
STEP: Final = "gongji.dev/step"
IN_THE_IMAGE: Final = ("/app/policies",)
"""Folders that the Dockerfile puts there."""
VOLUME_KEYS: Final = frozenset({"name", "emptyDir", "secret", "configMap"})
TEST_SWITCHES: Final = frozenset({"GONGJI_CLOCK_OFF_S", "GONGJI_FAULT_FILE", "GONGJI_FAULT_POINT"})


def settings_class(process: str) -> type[ProcessSettings]:
    """The Settings class that a process's app.py defines."""
    found: type[ProcessSettings] = importlib.import_module(MODULES[process]).Settings
    return found


def schemas(rendering: Rendering) -> Iterator[str]:
    """Every object is what its kind's schema says, with no field that Kubernetes would ignore."""
    for manifest in rendering.manifests:
        problem = _schema_problem(json.dumps(manifest, sort_keys=True))
        if problem is not None:
            yield f"{manifest['kind']} {manifest['metadata']['name']}: {problem}"


@cache
def _schema_problem(manifest: str) -> str | None:
    """Of one object, as JSON: the renderings share most of theirs, and reading the schemas takes long."""
    read = json.loads(manifest)
    try:
        kubernetes_validate.validate(read, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        if read["kind"] not in KINDS_WITHOUT_SCHEMA:
            return "there is no schema for this kind, so nobody has checked it"
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


def processes(rendering: Rendering) -> Iterator[str]:
    """Each process has a Deployment that starts it, a migration job, a disruption budget and an account of its own."""
    workloads = {workload.name: workload for workload in rendering.workloads}
    expected = {name for process in MODULES for name in (process, process + MIGRATE)}
    yield from (f"{name}: there is no such Deployment or Job" for name in sorted(expected - workloads.keys()))
    yield from (f"{workloads[name].where}: is no process of ours" for name in sorted(workloads.keys() - expected))
    budgets = [budget["spec"]["selector"]["matchLabels"] for budget in rendering.of_kind("PodDisruptionBudget")]
    accounts = {account["metadata"]["name"] for account in rendering.of_kind("ServiceAccount")}
    for name in sorted(expected & workloads.keys()):
        workload = workloads[name]
        start = ["python", "-m", MODULES[workload.process], *(["migrate"] if workload.is_migration else [])]
        if workload.container.get("command") != start:
            yield f"{workload.where}: must be started by {' '.join(start)}"
        if workload.labels.get(COMPONENT) != name:
            yield f"{workload.where}: its pods must be labelled {COMPONENT}: {name}"
        step = "migrate" if workload.is_migration else "serve"
        if workload.manifest["metadata"].get("labels", {}).get(STEP) != step:
            yield f"{workload.where}: must be labelled {STEP}: {step}, by which a release picks it"
        if workload.pod.get("serviceAccountName") not in accounts:
            yield f"{workload.where}: runs under an account that is not here"
        chosen = workload.manifest["spec"].get("selector", {}).get("matchLabels", {})
        if not workload.is_migration and not (chosen and chosen.items() <= workload.labels.items()):
            yield f"{workload.where}: does not select its own pods"
        if not workload.is_migration and not any(one.items() <= workload.labels.items() for one in budgets):
            yield f"{workload.where}: has no PodDisruptionBudget"


def settings(rendering: Rendering) -> Iterator[str]:
    """Each GONGJI_* variable is a setting of that process with a value it takes; each that is needed is given."""
    for workload in rendering.workloads:
        known = {setting.variable: setting for setting in settings_of(settings_class(workload.process))}
        given = {name: one for name, one in workload.environment.items() if name.startswith(PREFIX)}
        module = MODULES[workload.process]
        yield from (f"{workload.where}: {name} is no setting of {module}" for name in sorted(given.keys() - known))
        needed = {name for name, setting in known.items() if setting.default is None}
        missing = needed - {name for name, one in given.items() if one.value or one.secret}
        yield from (f"{workload.where}: {name} must be given" for name in sorted(missing))
        yield from (f"{workload.where}: {name} is for tests" for name in sorted(TEST_SWITCHES & given.keys()))
        yield from _bad_values(workload, {name: one for name, one in given.items() if name in known})
        yield from _bad_files(workload, given)


def _bad_values(workload: Workload, given: Mapping[str, Given]) -> Iterator[str]:
    """What the process itself would say of these texts at its start; files are looked at elsewhere."""
    cls = settings_class(workload.process)
    texts = {name: one.value for name, one in given.items() if one.value and not one.value.startswith("/")}
    fields = {field: variable_of(field) for field in cls.model_fields}
    try:
        cls.model_validate({field: texts[name] for field, name in fields.items() if name in texts})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            field = str(problem["loc"][0])
            if fields[field] in texts:
                yield f"{workload.where}: {fields[field]}: {problem['msg']}"
    for name, text in texts.items():
        if "://" in text and "@" in urlsplit(text).netloc:
            yield f"{workload.where}: {name} holds a password; it belongs into a secret"


def _bad_files(workload: Workload, given: Mapping[str, Given]) -> Iterator[str]:
    mounts = [mount["mountPath"] for mount in workload.container.get("volumeMounts", [])]
    for name, one in given.items():
        path = one.value or ""
        if path.startswith("/") and not any(f"{path}/".startswith(f"{place}/") for place in (*mounts, *IN_THE_IMAGE)):
            yield f"{workload.where}: {name} names {path}, which neither a volume nor the image brings"


def ports(rendering: Rendering) -> Iterator[str]:
    """A container's ports are those its process listens on, probes ask the health port, services name such ports."""
    ports_of: dict[str, dict[str, int]] = {}
    for workload in rendering.workloads:
        if workload.is_migration:
            continue
        named = {port["name"]: port["containerPort"] for port in workload.container.get("ports", [])}
        ports_of[workload.name] = named
        for name, variable in PORTS.items():
            text = workload.environment.get(variable, Given("")).value or ""
            listening = text.rpartition(":")[2]
            if str(named.get(name, "")) != listening:
                yield f"{workload.where}: port {name} is {named.get(name)}, but {variable} is {text or 'not given'}"
            if listening and text.startswith(("127.", "localhost")):
                yield f"{workload.where}: {variable} is {text}: nobody outside the pod could reach it"
        yield from (f"{workload.where}: nothing listens on port {name}" for name in sorted(named.keys() - PORTS))
        yield from _probes(workload, named.get("health"))
    yield from _services(rendering, ports_of)


def _probes(workload: Workload, health: int | None) -> Iterator[str]:
    for probe, service in PROBES.items():
        asked = workload.container.get(probe, {}).get("grpc", {})
        if asked.get("port") != health or asked.get("service", "") != service:
            yield f'{workload.where}: {probe} must ask the health port {health} by gRPC for "{service}"'


def _services(rendering: Rendering, ports_of: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    reached = set()
    for service in rendering.of_kind("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        reached.add(name)
        chosen = [one for one in rendering.workloads if spec["selector"].items() <= one.labels.items()]
        if [one.name for one in chosen] != [name]:
            yield f"Service {name}: selects {', '.join(one.name for one in chosen) or 'nothing'}"
            continue
        for port in spec["ports"]:
            target = ports_of[name].get(port["targetPort"])
            if target is None:
                yield f"Service {name}: no container port is called {port['targetPort']}"
            elif spec.get("clusterIP") == "None" and target != port["port"]:
                yield f"Service {name}: is headless, so port {port['port']} must be the pod's own {target}"
    for process in sorted(MODULES.keys() - WITHOUT_SERVICE - reached):
        yield f"Service {process}: is not there"


def addresses(rendering: Rendering) -> Iterator[str]:
    """An address names a Service and port of these manifests, or the one of NATS."""
    services = {
        f"{service['metadata']['name']}:{port['port']}"
        for service in rendering.of_kind("Service")
        for port in service["spec"]["ports"]
    }
    for workload in rendering.workloads:
        for name, given in workload.environment.items():
            text = given.value or ""
            if name.endswith("_ADDRESS") and text.removeprefix("dns:///") not in services:
                yield f"{workload.where}: {name} names {text}, which is no Service here"
            if name == variable_of("nats_url") and urlsplit(text).netloc != NATS_SERVICE:
                yield f"{workload.where}: {name} names {text}, but NATS answers at {NATS_SERVICE}"


def hardening(rendering: Rendering) -> Iterator[str]:
    """The restricted Pod Security Standard, a read-only root, resources, and no API token, for every container."""
    for workload in rendering.all_pods:
        yield from (f"{workload.where}: {finding}" for finding in _pod_hardening(workload.pod))
        for container in workload.containers:
            yield from (f"{workload.where}: {finding}" for finding in _container_hardening(container))
    enforced = [space["metadata"].get("labels", {}) for space in rendering.of_kind("Namespace")]
    if not enforced or any(labels.get("pod-security.kubernetes.io/enforce") != "restricted" for labels in enforced):
        yield "Namespace: does not enforce the restricted Pod Security Standard"


def _pod_hardening(pod: Manifest) -> Iterator[str]:
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "an API token is mounted"
    yield from (f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    for volume in pod.get("volumes", []):
        if not volume.keys() <= VOLUME_KEYS:
            yield f"volume {volume['name']} is of a kind that a process of ours has no use for"


def _container_hardening(container: Manifest) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "can gain privileges"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    resources = container.get("resources", {})
    if "memory" not in resources.get("limits", {}):
        yield "has no memory limit"
    yield from (f"asks for no {what}" for what in ("cpu", "memory") if what not in resources.get("requests", {}))


def stopping(rendering: Rendering) -> Iterator[str]:
    """Kubernetes waits longer than a process may take to leave: notice, drain, background work and the bus."""
    for workload in rendering.workloads:
        if workload.is_migration:
            continue
        told = {name: one.value for name, one in workload.environment.items()}
        defaults = {one.variable: one.default for one in settings_of(settings_class(workload.process))}
        notice_s, drain_s = (
            float(told.get(variable_of(field)) or defaults[variable_of(field)] or 0)
            for field in ("drain_notice_s", "drain_s")
        )
        needs_s = notice_s + drain_s + TASK_STOP_S + DRAIN_TIMEOUT_S
        grace_s = workload.pod.get("terminationGracePeriodSeconds", 30)
        if grace_s <= needs_s:
            yield f"{workload.where}: may take {needs_s:g} s to stop, and is killed after {grace_s} s"


def production(rendering: Rendering) -> Iterator[str]:
    """No process is told that it is anywhere else than in production."""
    for workload in rendering.workloads:
        if (given := workload.environment.get("GONGJI_ENVIRONMENT")) is not None and given.value != "production":
            yield f"{workload.where}: GONGJI_ENVIRONMENT is {given.value}"


def migrations(rendering: Rendering) -> Iterator[str]:
    """A migration job is told what its process is told: the same databases above all."""
    workloads = {workload.name: workload for workload in rendering.workloads}
    for process in MODULES:
        serving, job = workloads.get(process), workloads.get(process + MIGRATE)
        if serving is None or job is None:
            continue  # Said by `processes`.
        different = {
            name
            for name, given in job.environment.items()
            if serving.environment.get(name) != given and name.startswith(PREFIX)
        }
        yield from (f"{job.where}: {name} is not what {serving.where} is told" for name in sorted(different))
        if job.container["image"] != serving.container["image"]:
            yield f"{job.where}: is of another image than {serving.where}"


def has_own_database(process: str) -> bool:
    """Whether a process has one database (the ledger has one for each area)."""
    return issubclass(settings_class(process), ServiceSettings)


EVERYWHERE: Final = (schemas, processes, settings, ports, addresses, hardening, stopping, migrations)
