"""Builds the kustomizations and judges what comes out.

usage: manifests.py FOLDER KUSTOMIZE PROMTOOL
FOLDER: of the repository. PROMTOOL: the program, or `-`.
"""

import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import report
import yaml

OVERLAYS = ["dev", "solo"]
VERSIONS = ["1.34", "1.35", "1.36", "1.37"]


class Overlay:
    """A kustomization and its objects."""

    def __init__(self, root, name, kustomize, promtool):
        self.root, self.promtool = root, promtool
        command = [kustomize, "build", "--load-restrictor", "LoadRestrictionsNone", str(root / "k8s/overlays" / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        self.objects = list(yaml.safe_load_all(done.stdout))
        assert self.objects

    def of(self, *kinds):
        return [found for found in self.objects if found["kind"] in kinds]

    def pods(self):
        return [(found["metadata"]["name"], found["spec"]["template"]["spec"]) for found in self.of("Deployment")]

    def config(self, name):
        """Data of the generated map, whose name ends in a hash."""
        (found,) = [found for found in self.of("ConfigMap") if found["metadata"]["name"].rsplit("-", 1)[0] == name]
        return found["data"]


def objects_are_valid(overlay):
    for version in VERSIONS:
        for found in overlay.objects:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise AssertionError(f"{version} {found['kind']} {found['metadata']['name']}: {error.message}") from error


def pods_are_restricted(overlay):
    """As the labels of their namespace ask."""
    namespaces = {found["metadata"]["name"]: found["metadata"]["labels"] for found in overlay.of("Namespace")}
    assert set(namespaces) == {"quicprochat", "monitoring"}
    for labels in namespaces.values():
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for found in overlay.of("Deployment", "Service", "NetworkPolicy", "Role", "RoleBinding", "PersistentVolumeClaim"):
        assert found["metadata"].get("namespace") in namespaces, found["metadata"]
    for name, pod in overlay.pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert container["resources"]["limits"]["memory"] and container["readinessProbe"], name


def images_have_versions(overlay):
    for name, pod in overlay.pods():
        for container in pod["containers"]:
            tag = container["image"].rsplit("/", 1)[1].partition(":")[2]
            assert tag and tag != "latest", f"{name}: {container['image']}"


def volumes_exist(overlay):
    """Mounts are of volumes, volumes of maps and claims that are there."""
    there = {(found["kind"], found["metadata"]["name"]) for found in overlay.objects}
    for name, pod in overlay.pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes), name
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there, volume
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there, volume
    accounts = {pod.get("serviceAccountName", "default") for _, pod in overlay.pods()} - {"default"}
    assert all(("ServiceAccount", account) in there for account in accounts), accounts


def dashboards_are_all_there(overlay):
    """Whatever the chart has, in the form in which Grafana is told to look for it."""
    files = {path.name: path.read_text() for path in (overlay.root / "charts/quicprochat/files/dashboards").glob("*.json")}
    assert files and overlay.config("grafana-dashboards") == files
    provisioning = overlay.config("grafana-provisioning")
    (provider,) = yaml.safe_load(provisioning["dashboards.yaml"])["providers"]
    (source,) = yaml.safe_load(provisioning["datasources.yaml"])["datasources"]
    (grafana,) = [pod for name, pod in overlay.pods() if name == "grafana"]
    mounts = {mount["mountPath"] for mount in grafana["containers"][0]["volumeMounts"]}
    assert provider["options"]["path"] in mounts
    services = {found["metadata"]["name"]: found["spec"]["ports"][0]["port"] for found in overlay.of("Service")}
    name, _, port = source["url"].removeprefix("http://").partition(":")
    assert services[name] == int(port), source["url"]


def prometheus_understands_its_configuration(overlay):
    config = overlay.config("prometheus")
    parsed = yaml.safe_load(config["prometheus.yml"])
    # Debian's promtool is built without Kubernetes, so it judges the rest.
    for scrape in parsed["scrape_configs"]:
        (source,) = scrape.pop("kubernetes_sd_configs")
        assert source["role"] == "pod" and source["namespaces"] == {"names": ["quicprochat"]}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**config, "prometheus.yml": yaml.safe_dump(parsed)}.items():
            pathlib.Path(folder, name).write_text(text.replace("/etc/prometheus", folder))
        command = [overlay.promtool, "check", "config", str(pathlib.Path(folder, "prometheus.yml"))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "rules found" in done.stdout, done.stdout + done.stderr


def main():
    root, kustomize, promtool = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    found = {path.parent.name for path in (root / "k8s/overlays").glob("*/kustomization.yaml")}
    assert found == set(OVERLAYS), found
    for name in OVERLAYS:
        print(f"overlay {name}")
        overlay = Overlay(root, name, kustomize, promtool)
        for check in (objects_are_valid, pods_are_restricted, images_have_versions, volumes_exist, dashboards_are_all_there):
            report.judge(check, overlay)
        if promtool == "-":
            report.skipped(prometheus_understands_its_configuration, "no promtool")
        else:
            report.judge(prometheus_understands_its_configuration, overlay)
    report.end()


if __name__ == "__main__":
    main()
