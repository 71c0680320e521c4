"""Each rule of `make k8s-check` refuses a copy of the manifests in which somebody broke it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.unit.deploy.conftest import Broken
from tools import check_kubernetes, manifest_rules, network_rules, server_rules
from tools.check_kubernetes import DEPLOY, FOLDERS, NO_KUBECTL
from tools.manifests import CannotRender, Rendering, rendered

Rule = Callable[[Rendering], Iterator[str]]
IDENTITY: Final = "kubernetes/base/identity.yaml"
FAMILY: Final = "kubernetes/base/family.yaml"
LEDGER: Final = "kubernetes/base/ledger.yaml"
AUDIT: Final = "kubernetes/base/audit.yaml"
POD: Final = "kubernetes/base/shared/pod.yaml"
PROCESS: Final = "kubernetes/base/shared/process.yaml"
MIGRATION: Final = "kubernetes/base/shared/migration.yaml"
SETTINGS: Final = "kubernetes/base/kustomization.yaml"
SPACE: Final = "kubernetes/base/namespace.yaml"
ROOMS: Final = "kubernetes/base/network-rooms.yaml"
SERVERS: Final = "kubernetes/base/network-servers.yaml"
JOB_DATABASE: Final = """\
migrate]
          env:
            - {name: GONGJI_DATABASE_URL, valueFrom: {secretKeyRef: {name: """

BREAKS: Final[dict[str, tuple[Rule, str, str, str, str]]] = {
    # Settings
    "an unknown setting": (
        manifest_rules.settings, FAMILY, "GONGJI_POLICIES_FOLDER", "GONGJI_POLICY_FOLDER",
        "Deployment family: GONGJI_POLICY_FOLDER is no setting of services.family.app",
    ),
    "a setting of another room": (
        manifest_rules.settings, SETTINGS, "GONGJI_ACCESS_LOG=refused", "GONGJI_CODE_LIFETIME_S=60",
        "Deployment notify: GONGJI_CODE_LIFETIME_S is no setting of services.notify.app",
    ),
    "a needed setting that is missing": (
        manifest_rules.settings, FAMILY, "- {name: GONGJI_IDENTITY_ADDRESS", "- {name: OTHER",
        "Deployment family: GONGJI_IDENTITY_ADDRESS must be given",
    ),
    "a needed setting that is missing in a job": (
        manifest_rules.settings, LEDGER, "{name: gongji-areas, key: areas}", "{name: gongji-areas, key: all}",
        "Job ledger-migrate: GONGJI_LEDGER_AREAS must be given",
    ),
    "a value the process would refuse": (
        manifest_rules.settings, SETTINGS, "GONGJI_DRAIN_S=20", "GONGJI_DRAIN_S=soon",
        "Deployment identity: GONGJI_DRAIN_S: Input should be a valid number",
    ),
    "areas that are no areas": (
        manifest_rules.settings, SETTINGS, "areas=650100,650500", "areas=6501",
        "Deployment ledger: GONGJI_LEDGER_AREAS: String should match pattern",
    ),
    "a test switch": (
        manifest_rules.settings, SETTINGS, "GONGJI_ACCESS_LOG=refused", "GONGJI_FAULT_POINT=ledger.try.before_commit",
        "Deployment ledger: GONGJI_FAULT_POINT is for tests",
    ),
    "a password outside a secret": (
        manifest_rules.settings, SETTINGS, "nats://nats:4222", "nats://gongji:hunter2@nats:4222",
        "Deployment identity: GONGJI_NATS_URL holds a password",
    ),
    "a file that no volume brings": (
        manifest_rules.settings, PROCESS, "mountPath: /run/secrets/gongji-bus", "mountPath: /run/secrets/bus",
        "Deployment notify: GONGJI_NATS_NKEY_FILE names /run/secrets/gongji-bus/seed, which neither",
    ),
    # Ports, probes, services, addresses
    "a port the process does not listen on": (
        manifest_rules.ports, PROCESS, "containerPort: 7002", "containerPort: 7003",
        "Deployment identity: port metrics is 7003, but GONGJI_METRICS_LISTEN is 0.0.0.0:7002",
    ),
    "a port nothing listens on": (
        manifest_rules.ports, PROCESS, "{name: metrics, ",
        "{name: admin, containerPort: 7009}\n            - {name: metrics, ",
        "Deployment identity: nothing listens on port admin",
    ),
    "a listener nobody could reach": (
        manifest_rules.ports, SETTINGS, "GRPC_LISTEN=0.0.0.0:7000", "GRPC_LISTEN=127.0.0.1:7000",
        "Deployment identity: GONGJI_GRPC_LISTEN is 127.0.0.1:7000: nobody outside the pod could reach it",
    ),
    "a probe at the wrong port": (
        manifest_rules.ports, PROCESS, "grpc: {port: 7001}", "grpc: {port: 7000}",
        'Deployment family: readinessProbe must ask the health port 7001 by gRPC for ""',
    ),
    "a liveness probe that asks for readiness": (
        manifest_rules.ports, PROCESS, "grpc: {port: 7001, service: live}\n            periodSeconds: 10",
        "grpc: {port: 7001}\n            periodSeconds: 10",
        'Deployment family: livenessProbe must ask the health port 7001 by gRPC for "live"',
    ),
    "a probe that only knocks": (
        manifest_rules.ports, PROCESS, "grpc: {port: 7001}", "tcpSocket: {port: 7001}",
        "Deployment family: readinessProbe must ask",
    ),
    "a service with a port that is not there": (
        manifest_rules.ports, IDENTITY, "targetPort: grpc", "targetPort: web",
        "Service identity: no container port is called web",
    ),
    "a headless service with a port of its own": (
        manifest_rules.ports, IDENTITY, "port: 7000, targetPort: grpc", "port: 80, targetPort: grpc",
        "Service identity: is headless, so port 80 must be the pod's own 7000",
    ),
    "a service of nobody": (
        manifest_rules.ports, IDENTITY, "  selector: {app.kubernetes.io/component: identity}",
        "  selector: {app: identity}",
        "Service identity: selects nothing",
    ),
    "a service that also selects the job": (
        manifest_rules.ports, IDENTITY, "  selector: {app.kubernetes.io/component: identity}",
        "  selector: {app.kubernetes.io/part-of: gongji}",
        "Service identity: selects family, identity",
    ),
    "a service that is missing": (
        manifest_rules.ports, FAMILY, "kind: Service\nmetadata:\n  name: family",
        "kind: Service\nmetadata:\n  name: families",
        "Service family: is not there",
    ),
    "an address without a service": (
        manifest_rules.addresses, FAMILY, "dns:///identity:7000", "dns:///identities:7000",
        "Deployment family: GONGJI_IDENTITY_ADDRESS names dns:///identities:7000, which is no Service here",
    ),
    "an address at another port": (
        manifest_rules.addresses, FAMILY, "dns:///identity:7000", "dns:///identity:7001",
        "Deployment family: GONGJI_IDENTITY_ADDRESS names dns:///identity:7001, which is no Service here",
    ),
    "another NATS": (
        manifest_rules.addresses, SETTINGS, "nats://nats:4222", "nats://bus:4222",
        "Deployment notify: GONGJI_NATS_URL names nats://bus:4222, but NATS answers at nats:4222",
    ),
    # What there must be
    "another module": (
        manifest_rules.processes, IDENTITY, "services.identity.app]", "services.identity]",
        "Deployment identity: must be started by python -m services.identity.app",
    ),
    "a process without a job": (
        manifest_rules.processes, IDENTITY, "identity-migrate", "identity-schema",
        "identity-migrate: there is no such Deployment or Job",
    ),
    "a process without a disruption budget": (
        manifest_rules.processes, IDENTITY,
        "matchLabels: {app.kubernetes.io/component: identity}\n---\napiVersion: batch",
        "matchLabels: {app.kubernetes.io/component: nobody}\n---\napiVersion: batch",
        "Deployment identity: has no PodDisruptionBudget",
    ),
    "a process under another's account": (
        manifest_rules.processes, IDENTITY, "serviceAccountName: identity", "serviceAccountName: default",
        "Deployment identity: runs under an account that is not here",
    ),
    "a deployment without its step": (
        manifest_rules.processes, IDENTITY, ", gongji.dev/step: serve", "",
        "Deployment identity: must be labelled gongji.dev/step: serve",
    ),
    "a job that migrates another database": (
        manifest_rules.migrations, IDENTITY, JOB_DATABASE + "gongji-identity-database",
        JOB_DATABASE + "gongji-family-database",
        "Job identity-migrate: GONGJI_DATABASE_URL is not what Deployment identity is told",
    ),
    "a job of another image": (
        manifest_rules.migrations, MIGRATION, "- name: gongji\n",
        "- name: gongji\n          image: gongji-migrations\n",
        "Job family-migrate: is of another image than Deployment family",
    ),
    "too little time to stop": (
        manifest_rules.stopping, PROCESS, "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30",
        "Deployment settlement: may take 35 s to stop, and is killed after 30 s",
    ),
    # Hardening
    "an audit that may write its root": (
        manifest_rules.hardening, AUDIT, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false",
        "CronJob audit: its root file system can be written",
    ),
    "a pod that may be root": (
        manifest_rules.hardening, POD, "runAsNonRoot: true", "runAsNonRoot: false",
        "Deployment identity: may run as root",
    ),
    "a pod without a seccomp profile": (
        manifest_rules.hardening, POD, "seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Unconfined}",
        "Job notify-migrate: has no seccomp profile",
    ),
    "a token that is mounted": (
        manifest_rules.hardening, POD, "automountServiceAccountToken: false", "automountServiceAccountToken: true",
        "Deployment identity: an API token is mounted",
    ),
    "the node's network": (
        manifest_rules.hardening, POD, "enableServiceLinks: false", "hostNetwork: true",
        "Deployment identity: hostNetwork is on",
    ),
    "a folder of the node": (
        manifest_rules.hardening, POD, "emptyDir: {sizeLimit: 64Mi}", "hostPath: {path: /tmp}",
        "Deployment identity: volume tmp is of a kind",
    ),
    "privileges to be gained": (
        manifest_rules.hardening, POD, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true",
        "Job ledger-migrate: can gain privileges",
    ),
    "capabilities that are kept": (
        manifest_rules.hardening, POD, "drop: [ALL]", "drop: [NET_RAW]", "Deployment identity: keeps capabilities"
    ),
    "a root file system that can be written": (
        manifest_rules.hardening, POD, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false",
        "Deployment identity: its root file system can be written",
    ),
    "no memory limit": (
        manifest_rules.hardening, MIGRATION, "limits: {memory: 512Mi}", "limits: {}",
        "Job identity-migrate: has no memory limit",
    ),
    "no request": (
        manifest_rules.hardening, LEDGER, 'requests: {cpu: "1", memory: 512Mi}', "requests: {memory: 512Mi}",
        "Deployment ledger: asks for no cpu",
    ),
    "a namespace that admits anything": (
        manifest_rules.hardening, SPACE, "enforce: restricted", "enforce: privileged",
        "Namespace: does not enforce the restricted Pod Security Standard",
    ),
    # Schemas
    "a field Kubernetes would ignore": (
        manifest_rules.schemas, PROCESS, "failureThreshold: 2", "failureTreshold: 2",
        "Deployment family: ",
    ),
    "a kind without a schema": (
        manifest_rules.schemas, SPACE, "apiVersion: v1",
        "apiVersion: example.org/v1\nkind: Mesh\nmetadata: {name: all}\n---\napiVersion: v1",
        "Mesh all: there is no schema for this kind",
    ),
    # Network
    "a component that is not there": (
        network_rules.components, ROOMS, "values: [ledger, ledger-migrate]", "values: [ledgers, ledger-migrate]",
        "NetworkPolicy to-ledger-databases: there is no component ledgers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "file", "old", "new", "finding"), [pytest.param(*row, id=name) for name, row in BREAKS.items()]
)
def test_a_broken_copy_is_refused_and_the_finding_says_where(
    broken: Broken, rule: Rule, file: str, old: str, new: str, finding: str
) -> None:
    """The finding names the object, the setting or port, and what is wrong with it."""
    _, rendering = broken(file, old, new)
    found = list(rule(rendering))
    assert any(line.startswith(finding) for line in found), found


NETWORK: Final = {
    "no default": (
        ROOMS, "app.kubernetes.io/part-of: gongji", "app.kubernetes.io/component: identity",
        "Job family-migrate: no NetworkPolicy rules its ingress",
    ),
    "no names": (
        ROOMS, "protocol: UDP, port: 53", "protocol: UDP, port: 54", "Job ledger-migrate: may not ask for names"
    ),
    "a process cut off from NATS": (
        ROOMS, "family, settlement, ledger, notify]", "family, settlement, notify]",
        "Deployment ledger: no NetworkPolicy lets it reach NATS at 4222, at both ends",
    ),
    "NATS closed to all": (
        SERVERS, "port: 4222", "port: 4223",
        "Deployment ledger: no NetworkPolicy lets it reach NATS at 4222, at both ends",
    ),
    "a job cut off from its database": (
        ROOMS, "          - identity-migrate\n", "",
        "Job identity-migrate: no NetworkPolicy lets it reach its databases at 5432, at both ends",
    ),
    "ledgers sent to the services' databases": (
        ROOMS, "cnpg.io/cluster: gongji-ledgers", "cnpg.io/cluster: gongji-services",
        "Deployment ledger: no NetworkPolicy lets it reach its databases at 5432, at both ends",
    ),
    "a caller not let in": (
        ROOMS, "name: at-identity\nspec:\n  podSelector: {matchLabels: {app.kubernetes.io/component: identity}}",
        "name: at-identity\nspec:\n  podSelector: {matchLabels: {app.kubernetes.io/component: family}}",
        "Deployment notify: no NetworkPolicy lets it reach identity at 7000, at both ends",
    ),
    "a way that no setting asks for": (
        FAMILY, "- {name: GONGJI_IDENTITY_ADDRESS", "- {name: OTHER",
        "Deployment family: may reach identity at 7000, but is never told to",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"), [pytest.param(*row, id=name) for name, row in NETWORK.items()]
)
def test_a_network_policy_too_narrow_or_too_wide_is_found(
    broken: Broken, file: str, old: str, new: str, finding: str
) -> None:
    """Ways that processes need must be open at both ends, and between our own pods no others."""
    deploy, rendering = broken(file, old, new)
    clusters = server_rules.Clusters(deploy).of_processes(server_rules.areas_of(rendering))
    found = list(network_rules.ways(rendering, clusters))
    assert any(line.startswith(finding) for line in found), found


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_manifests_as_they_stand_have_nothing_wrong(folder: str) -> None:
    """Base and both overlays pass every rule."""
    if shutil.which("kubectl") is None:
        pytest.skip(NO_KUBECTL)
    assert list(check_kubernetes.findings(DEPLOY, rendered(DEPLOY, folder))) == []


def test_a_production_that_says_it_is_none_is_refused(broken: Broken) -> None:
    """Only the development overlay may say GONGJI_ENVIRONMENT=development."""
    deploy, rendering = broken(
        SETTINGS, "GONGJI_ENVIRONMENT=production", "GONGJI_ENVIRONMENT=development", folder="overlays/production"
    )
    assert "Job identity-migrate: GONGJI_ENVIRONMENT is development" in set(
        check_kubernetes.findings(deploy, rendering)
    )


def test_what_does_not_render_is_told_in_kubectls_words(broken: Broken) -> None:
    """A file that is named and not there stops the check."""
    with pytest.raises(CannotRender, match=r"base does not render:(.|\n)*nobody\.yaml"):
        broken(SETTINGS, "- notify.yaml", "- nobody.yaml")


def test_a_finding_ends_the_check_with_one(
    broken: Broken, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything found in any rendering is printed, each line with its folder; intact, the objects are counted."""
    deploy, _ = broken(POD, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    monkeypatch.setattr(check_kubernetes, "DEPLOY", deploy)
    monkeypatch.setattr(check_kubernetes, "FOLDERS", ("overlays/production",))
    monkeypatch.setattr("sys.argv", ["check_kubernetes"])
    with pytest.raises(SystemExit) as ended:
        check_kubernetes.main()
    assert "overlays/production: Job family-migrate: its root file system can be written" in str(ended.value)
    monkeypatch.setattr(check_kubernetes, "DEPLOY", DEPLOY)
    check_kubernetes.main()
    assert "valid, and as the code says" in capsys.readouterr().out


def test_without_kubectl_the_check_fails_aloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names what is missing and does not pass."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        check_kubernetes.main()
    assert ended.value.code == NO_KUBECTL
