"""Reads compose.yaml by the loader of the specification, with its schema, and holds what it says against the tree.

usage: compose.py FOLDER LOADER PROMTOOL
FOLDER: of the repository. LOADER: compose-go's program. PROMTOOL: the program, or `-`.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import report
import yaml

PASSWORD = {"QPC_GRAFANA_PASSWORD": "a"}


def interpolate(text, environment):
    """Puts in variables, which the program of the loader does not know."""

    def value(match):
        name, kind, word = match.groups()
        if environment.get(name):
            return environment[name]
        assert kind == "-", f"{name}: {word}"
        return word

    found = re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)
    assert "${" not in found, "variables have a default or are asked for"
    return found


def load(root, loader, environment, *files):
    """The project; variables are these alone."""
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for number, name in enumerate(files):
            copies.append(pathlib.Path(folder, f"{number}.yaml"))
            copies[-1].write_text(interpolate((root / name).read_text(), environment))
        command = [loader, "-format", "json", *copies]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(root, loader, environment, variable, *files):
    try:
        load(root, loader, environment, *files)
    except AssertionError as error:
        assert variable in str(error), error
    else:
        raise AssertionError(f"nobody asks for {variable}")


def variables(service):
    """A merged model has a list of them."""
    found = service["environment"]
    return dict(line.split("=", 1) for line in found) if isinstance(found, list) else found


class Project:
    def __init__(self, root, loader, promtool):
        self.root, self.loader, self.promtool = root, loader, promtool
        self.parsed = load(root, loader, PASSWORD, "compose.yaml")
        self.services = self.parsed["services"]

    def mounts(self, service):
        """Files of the tree that a container sees: path there -> path here."""
        found = self.services[service].get("volumes", [])
        return {mount["target"]: pathlib.Path(mount["source"]) for mount in found if mount["type"] == "bind"}


def a_password_is_asked_for(project):
    refused(project.root, project.loader, {}, "QPC_GRAFANA_PASSWORD", "compose.yaml")


def a_certificate_can_be_given(project):
    files = ["compose.yaml", "deploy/compose/tls.yaml"]
    refused(project.root, project.loader, PASSWORD, "QPC_CERTIFICATE", *files)
    parsed = load(project.root, project.loader, {**PASSWORD, "QPC_CERTIFICATE": "/tls"}, *files)
    server = parsed["services"]["server"]
    there = {secret["target"] for secret in server["secrets"]}
    assert {variables(server)["QPC_TLS_CERT"], variables(server)["QPC_TLS_KEY"]} <= there
    assert parsed["secrets"]["tls-key"]["file"] == "/tls/privkey.pem"


def images_are_those_of_the_tree(project):
    """Ours with the version of the workspace and a stage of the Containerfile, others as in the kustomization."""
    version = tomllib.loads((project.root / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    server = project.services["server"]
    assert server["image"] == f"ghcr.io/quicprochat/qpc-server:{version}", server["image"]
    stages = re.findall(r"(?m)^FROM \S+ AS (\S+)$", (project.root / server["build"]["dockerfile"]).read_text())
    assert server["build"]["target"] in stages, stages
    for name in ("prometheus", "grafana"):
        (deployment,) = [
            found
            for found in yaml.safe_load_all((project.root / f"k8s/base/{name}.yaml").read_text())
            if found["kind"] == "Deployment"
        ]
        pod = deployment["spec"]["template"]["spec"]
        assert pod["containers"][0]["image"] == project.services[name]["image"], name
        user = str(pod["securityContext"]["runAsUser"])
        assert project.services[name]["user"].partition(":")[0] == user, name


def variables_are_settings(project):
    """What the server is told is documented, and names the paths and ports that it is given."""
    documented = (project.root / "docs/reference/configuration.md").read_text()
    environment = variables(project.services["server"])
    unknown = [name for name in environment if f"`{name}`" not in documented]
    assert not unknown, unknown
    targets = [volume["target"] for volume in project.services["server"]["volumes"]]
    assert environment["QPC_DATA"] in targets
    listened = {environment[name].rsplit(":", 1)[1] for name in ("QPC_LISTEN", "QPC_ADMIN_LISTEN")}
    assert listened == {str(port["target"]) for port in project.services["server"]["ports"]}


def containers_give_up_what_they_do_not_need(project):
    for name, service in project.services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service["user"].startswith("0"), name
        assert service["healthcheck"]["test"][0] == "CMD", f"{name}: images of ours have no shell"


def only_clients_come_in(project):
    """One port is open to everybody; what only watches is not reached from outside."""
    ports = [port for service in project.services.values() for port in service.get("ports", [])]
    opened = [(port["target"], port["protocol"]) for port in ports if port.get("host_ip") != "127.0.0.1"]
    assert opened == [(7000, "udp")], opened
    assert project.parsed["networks"]["watch"]["internal"] is True
    assert set(project.services["prometheus"]["networks"]) == {"watch"}


def files_exist(project):
    named = [path for name in project.services for path in project.mounts(name).values()]
    assert len(named) >= 5 and all(path.exists() for path in named), [str(path) for path in named if not path.exists()]


def prometheus_asks_the_server(project):
    mounts = project.mounts("prometheus")
    config = yaml.safe_load(mounts["/etc/prometheus/prometheus.yml"].read_text())
    targets = [target for scrape in config["scrape_configs"] for found in scrape["static_configs"] for target in found["targets"]]
    port = variables(project.services["server"])["QPC_OBSERVE"].rsplit(":", 1)[1]
    assert targets == [f"server:{port}"], targets
    assert set(config["rule_files"]) <= set(mounts), config["rule_files"]
    shared = set(project.services["server"]["networks"]) & set(project.services["prometheus"]["networks"])
    assert shared, "they do not see each other"


def grafana_finds_prometheus_and_dashboards(project):
    mounts = project.mounts("grafana")
    (provider,) = yaml.safe_load(mounts["/etc/grafana/provisioning/dashboards/quicprochat.yaml"].read_text())["providers"]
    assert list(mounts[provider["options"]["path"]].glob("*.json"))
    (source,) = yaml.safe_load(mounts["/etc/grafana/provisioning/datasources/quicprochat.yaml"].read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(project.services["grafana"]["networks"]) & set(project.services["prometheus"]["networks"])


def prometheus_understands_its_configuration(project):
    with tempfile.TemporaryDirectory() as folder:
        for there, here in project.mounts("prometheus").items():
            name = there.removeprefix("/etc/prometheus/")
            pathlib.Path(folder, name).write_text(here.read_text().replace("/etc/prometheus", folder))
        command = [project.promtool, "check", "config", str(pathlib.Path(folder, "prometheus.yml"))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "rules found" in done.stdout, done.stdout + done.stderr


def main():
    project = Project(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    for check in (
        a_password_is_asked_for,
        a_certificate_can_be_given,
        images_are_those_of_the_tree,
        variables_are_settings,
        containers_give_up_what_they_do_not_need,
        only_clients_come_in,
        files_exist,
        prometheus_asks_the_server,
        grafana_finds_prometheus_and_dashboards,
    ):
        report.judge(check, project)
    if project.promtool == "-":
        report.skipped(prometheus_understands_its_configuration, "no promtool")
    else:
        report.judge(prometheus_understands_its_configuration, project)
    report.end()


if __name__ == "__main__":
    main()
