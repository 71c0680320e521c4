"""The manifests as Kubernetes will see them: rendered by kubectl, settings looked up where they come from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = Mapping[str, Any]
COMPONENT: Final = "app.kubernetes.io/component"
MIGRATE: Final = "-migrate"
POD_KINDS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})


class CannotRender(Exception):  # noqa: N818  It is an answer to a person: what kubectl says.
    """``kubectl kustomize`` refused a folder; the message is its own."""


@dataclass(frozen=True)
class Given:
    """A variable as a container gets it: its text, or the secret and key it comes from."""

    value: str | None
    secret: tuple[str, str] | None = None


@dataclass(frozen=True)
class Workload:
    """A Deployment, Job or CronJob of ours with its one container."""

    manifest: Manifest
    rendering: Rendering

    @property
    def name(self) -> str:
        """The object's own name: ``identity``, ``identity-migrate``."""
        return str(self.manifest["metadata"]["name"])

    @property
    def process(self) -> str:
        """The process it runs or migrates."""
        return self.name.removesuffix(MIGRATE)

    @property
    def is_migration(self) -> bool:
        """Whether it migrates and ends."""
        return bool(self.manifest["kind"] == "Job")

    @property
    def where(self) -> str:
        """How a finding names it."""
        return f"{self.manifest['kind']} {self.name}"

    @property
    def pod(self) -> Manifest:
        """The pod's spec."""
        spec: Manifest = self._template["spec"]
        return spec

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        labels: Mapping[str, str] = self._template["metadata"].get("labels", {})
        return labels

    @property
    def _template(self) -> Manifest:
        spec = self.manifest["spec"]
        template: Manifest = (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]
        return template

    @property
    def containers(self) -> list[Manifest]:
        """All of them, also those that only prepare."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def container(self) -> Manifest:
        """The one that runs our process."""
        first: Manifest = self.pod["containers"][0]
        return first

    @cached_property
    def environment(self) -> dict[str, Given]:
        """Every variable the container gets, those of its ConfigMaps included; its own win, as in Kubernetes."""
        found: dict[str, Given] = {}
        for source in self.container.get("envFrom", []):
            data = self.rendering.config_map(source["configMapRef"]["name"])
            found |= {name: Given(str(value)) for name, value in data.items()}
        for entry in self.container.get("env", []):
            found[entry["name"]] = self._given(entry)
        return found

    def _given(self, entry: Manifest) -> Given:
        source = entry.get("valueFrom", {})
        if (secret := source.get("secretKeyRef")) is not None:
            return Given(None, (secret["name"], secret["key"]))
        if (reference := source.get("configMapKeyRef")) is not None:
            return Given(self.rendering.config_map(reference["name"]).get(reference["key"]))
        return Given(str(entry.get("value", "")))


@dataclass(frozen=True)
class Rendering:
    """What one kustomize folder becomes."""

    folder: str
    manifests: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> Iterator[Manifest]:
        """The objects of a kind."""
        return (manifest for manifest in self.manifests if manifest["kind"] == kind)

    @property
    def workloads(self) -> list[Workload]:
        """Everything that runs a pod of a process, or migrates for it."""
        return [Workload(manifest, self) for manifest in self.manifests if manifest["kind"] in POD_KINDS]

    @property
    def all_pods(self) -> list[Workload]:
        """The same, and what runs by the clock."""
        return [*self.workloads, *(Workload(manifest, self) for manifest in self.of_kind("CronJob"))]

    def config_map(self, name: str) -> Mapping[str, str]:
        """Its data; nothing if there is no such ConfigMap, which the variables that are missing then tell."""
        for manifest in self.of_kind("ConfigMap"):
            if manifest["metadata"]["name"] == name:
                data: Mapping[str, str] = manifest.get("data", {})
                return data
        return {}


def rendered(deploy: Path, folder: str) -> Rendering:
    """What ``kubectl kustomize`` makes of a folder under ``deploy/kubernetes``; CannotRender with what it says."""
    result = subprocess.run(  # noqa: S603  Fixed arguments.
        ["kubectl", "kustomize", str(deploy / "kubernetes" / folder)],  # noqa: S607  kubectl is looked up.
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise CannotRender(f"{folder} does not render:\n{result.stderr}")
    documents = yaml.load_all(result.stdout, Loader=yaml.CSafeLoader)
    return Rendering(folder, tuple(document for document in documents if document))
