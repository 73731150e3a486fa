"""Executes the Tiltfile as Starlark, with functions that have Tilt's names and parameters and note how they are called, and
holds what it asks for against the tree, the workspace, and the chart as it is rendered.

usage: tiltfile.py FOLDER HELM KUSTOMIZE SERVICE...
FOLDER: of the repository. HELM, KUSTOMIZE: programs, or `-`. SERVICE: programs of the workspace.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import report
import starlark
import yaml

CHART = "charts/quicprochat/Chart.yaml"
# Why an image of the workspace is none of Tilt's.
LEFT_OUT = {"qpc-server": "all services in one process", "qpc-operator": "off in k8s/dev/values.yaml"}


class Calls:
    """What the Tiltfile has asked for."""

    def __init__(self, root, helm, kustomize, services, context="kind-quicprochat"):
        self.context = context
        self.root, self.helm, self.kustomize_program, self.services = root, helm, kustomize, services
        self.images, self.locals, self.resources, self.commands = {}, {}, {}, []
        self.watched, self.contexts, self.objects, self.missing = [], [], [], []

    def stubs(self):
        names = "local local_resource docker_build sync run k8s_yaml k8s_resource kustomize watch_file"
        return {name: getattr(self, name) for name in (names + " version_settings allow_k8s_contexts k8s_context").split()}

    # Parameters are named as in Tilt, since the Tiltfile gives most of them by name.
    def version_settings(self, check_updates=True, constraint=""):
        assert re.fullmatch(r">=\d+\.\d+\.\d+", constraint), constraint

    def allow_k8s_contexts(self, contexts):
        self.contexts += [contexts] if isinstance(contexts, str) else contexts

    def k8s_context(self):
        return self.context

    def watch_file(self, file_path):
        self.watched.append(file_path)

    def sync(self, local_path, remote_path):
        return {"sync": [local_path, remote_path]}

    def run(self, cmd, trigger=None, echo_off=False):
        return {"run": cmd}

    def docker_build(self, ref, context, build_args=None, dockerfile=None, live_update=None, ignore=None, only=None, target=None):
        assert ref not in self.images, f"{ref} is built twice"
        self.images[ref] = dict(context=context, args=build_args or {}, dockerfile=dockerfile, live=live_update or [])

    def local_resource(self, name, cmd="", deps=None, trigger_mode="auto", resource_deps=None, ignore=None, auto_init=True,
                       serve_cmd="", allow_parallel=False, links=None, labels=None, env=None):
        self.locals[name] = dict(cmd=cmd, deps=deps or [], after=resource_deps or [], auto=auto_init, trigger=trigger_mode)

    def k8s_resource(self, workload="", new_name="", port_forwards=None, extra_pod_selectors=None, trigger_mode="auto",
                     resource_deps=None, objects=None, auto_init=True, pod_readiness="", links=None, labels=None):
        self.resources[new_name or workload] = dict(workload=workload, after=resource_deps or [], ports=port_forwards or [])

    def k8s_yaml(self, yaml_text, allow_duplicates=False):
        self.objects += [found for found in yaml.safe_load_all(yaml_text) if found]

    def local(self, command, quiet=False, command_bat="", echo_off=False, env=None, dir="", stdin=None):
        assert isinstance(command, list), f"a command is a list of words: {command}"
        self.commands.append(command)
        if command[0] != "helm":
            return ""
        if self.helm == "-":
            self.missing.append("helm" if (self.root / CHART).is_file() else CHART)
            return ""
        # There is no cluster that could be asked for Secrets.
        offline = [self.helm if word == "helm" else word for word in command if word != "--dry-run=server"]
        assert len(offline) < len(command), "rendered without a look at the Secrets that are there"
        return self.output(offline + ["--set", "secrets.generate=always"])

    def kustomize(self, paths, kustomize_bin="", flags=None):
        assert (self.root / paths / "kustomization.yaml").is_file(), f"{paths}: no kustomization"
        if self.kustomize_program == "-":
            self.missing.append("kustomize")
            return ""
        return self.output([self.kustomize_program, "build", *(flags or []), paths])

    def output(self, command):
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


def execute(calls):
    dialect = starlark.Dialect.standard()
    # As in Tilt.
    dialect.enable_top_level_stmt = True
    module = starlark.Module()
    for name, stub in calls.stubs().items():
        module.add_callable(name, stub)
    module["TRIGGER_MODE_MANUAL"] = "manual"
    module["TRIGGER_MODE_AUTO"] = "auto"
    source = (calls.root / "Tiltfile").read_text()
    starlark.eval(module, starlark.parse("Tiltfile", source, dialect), starlark.Globals.standard())


def pods(objects):
    """Workloads: name -> pod template."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in objects
        if found["kind"] in ("Deployment", "StatefulSet")
    }


def every_service_is_built_and_replaced(calls):
    """Each program of the workspace has an image, and a newer binary gets into its pods."""
    built = {ref.rsplit("/", 1)[1]: image for ref, image in calls.images.items()}
    expected = [service for service in calls.services if service not in LEFT_OUT]
    assert len(expected) >= 6, expected
    assert sorted(built) == sorted(expected), f"built {sorted(built)}, of the workspace {sorted(expected)}"
    assert calls.locals["compile"]["cmd"][2:] == list(built), "compiled is what is built"
    for name, image in built.items():
        assert image["args"] == {"SERVICE": name} and image["context"] == f"target/tilt/{name}"
        synced = [step["sync"] for step in image["live"] if "sync" in step]
        assert synced == [[f"target/tilt/{name}/{name}", f"/live/{name}"]], synced
        assert any("kill -TERM" in step.get("run", "") for step in image["live"]), f"{name}: nobody starts the new one"


def paths_exist(calls):
    """Whatever is named is there."""
    named = [image["dockerfile"] for image in calls.images.values()] + calls.watched
    for resource in calls.locals.values():
        named += resource["deps"]
    commands = calls.commands + [resource["cmd"] for resource in calls.locals.values()]
    named += [word for command in commands for word in command if "/" in word and not word.startswith("target/")]
    assert len(named) > 8, named
    absent = sorted(path for path in named if not (calls.root / path).exists())
    assert not absent, f"not there: {absent}"


def no_other_cluster(calls):
    """It is for a cluster of this machine, which the configuration of kind makes."""
    assert calls.contexts and all(re.match("(kind|k3d)-", name) for name in calls.contexts), calls.contexts
    kind = yaml.safe_load((calls.root / "k8s/kind/cluster.yaml").read_text())
    assert kind["kind"] == "Cluster" and kind["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert f"kind-{kind['name']}" in calls.contexts
    elsewhere = Calls(calls.root, "-", "-", calls.services, "production")
    try:
        execute(elsewhere)
    except starlark.StarlarkError as error:
        assert "production" in str(error) and not elsewhere.commands, elsewhere.commands
    else:
        raise AssertionError("it goes on with any cluster")


def one_button_seeds(calls):
    """Seeding waits for a hand and for every service."""
    seed = calls.locals["seed"]
    assert not seed["auto"] and seed["trigger"] == "manual"
    assert {ref.rsplit("qpc-", 1)[1] for ref in calls.images} == set(seed["after"])


def order_is_possible(calls):
    """Whatever is waited for exists, and nothing waits for itself."""
    after = {name: found["after"] for name, found in {**calls.locals, **calls.resources}.items()}
    done = set()
    while len(done) < len(after):
        ready = [name for name, others in after.items() if name not in done and set(others) <= done]
        assert ready, f"never started: {sorted(set(after) - done)}"
        done.update(ready)


def workloads_exist(calls):
    """Rows are of workloads that the chart and the overlay have."""
    found = pods(calls.objects)
    named = {row["workload"] for row in calls.resources.values()}
    assert named == set(found), f"rows {sorted(named)}, workloads {sorted(found)}"
    for want in ("postgres", "nats", "cache", "grafana"):
        assert want in calls.resources, want


def images_are_the_charts(calls):
    """What is built replaces an image of the chart, whose pod has a writable folder for newer binaries."""
    found = pods(calls.objects)
    for ref in calls.images:
        name = ref.rsplit("qpc-", 1)[1]
        pod = found[calls.resources[name]["workload"]]
        (container,) = pod["containers"]
        assert container["image"].rsplit(":", 1)[0] == ref, f"{container['image']} is not {ref}"
        assert "command" not in container, f"{name}: k8s/dev/run.sh is passed over"
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert not mounts["/live"].get("readOnly"), name
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mounts["/live"]["name"]]
        assert "emptyDir" in volume, name
    ours = {
        container["image"].rsplit(":", 1)[0]
        for pod in found.values()
        for container in pod["containers"] + pod.get("initContainers", [])
        if "/qpc-" in container["image"]
    }
    assert ours == set(calls.images), "an image is pulled that should be built"


def clients_get_in(calls):
    """The port of the node that kind opens is the gateways'."""
    kind = yaml.safe_load((calls.root / "k8s/kind/cluster.yaml").read_text())
    opened = [(port["containerPort"], port["protocol"]) for node in kind["nodes"] for port in node["extraPortMappings"]]
    ports = [
        (port.get("nodePort"), port["protocol"])
        for found in calls.objects
        if found["kind"] == "Service" and found["spec"].get("type") == "NodePort"
        for port in found["spec"]["ports"]
    ]
    assert ports and opened == ports, f"kind opens {opened}, the gateway has {ports}"


def metrics_are_found(calls):
    """Prometheus of the overlay looks for labels and ports that the chart's pods have, and is let in."""
    maps = [found["data"] for found in calls.objects if found["kind"] == "ConfigMap"]
    (scrape,) = yaml.safe_load(next(data["prometheus.yml"] for data in maps if "prometheus.yml" in data))["scrape_configs"]
    (source,) = scrape["kubernetes_sd_configs"]
    label, _, value = source["selectors"][0]["label"].partition("=")
    port = next(rule["regex"] for rule in scrape["relabel_configs"] if "regex" in rule)
    for found in calls.objects:
        if found["kind"] != "Deployment" or found["metadata"]["namespace"] != "quicprochat":
            continue
        template = found["spec"]["template"]
        assert template["metadata"]["labels"].get(label) == value, found["metadata"]["name"]
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert ports[port] == 9464, f"{found['metadata']['name']}: {ports}"
    assert any(found["kind"] == "Namespace" and found["metadata"]["name"] == "monitoring" for found in calls.objects)


def too_late(*_):
    raise TimeoutError("nothing came")


def a_newer_program_is_started(calls):
    """k8s/dev/run.sh itself: told to begin again it runs what lies there by then; it ends when told, and as the program does."""
    program = "#!/bin/sh\ntail -f /dev/null &\ntrap 'kill $!; echo WORD drained; exit 7' TERM\necho WORD $*\nwait\n"
    # As the Tiltfile does it, once the number of the process is there.
    stop = 'until [ -s "$LIVE/pid" ]; do :; done; kill -TERM "$(cat "$LIVE/pid")"'
    signal.signal(signal.SIGALRM, too_late)
    for ended_by in ("the program", "the runner"):
        with tempfile.TemporaryDirectory() as folder:
            built, live = pathlib.Path(folder, "built"), pathlib.Path(folder, "live")
            for place, name, word in ((built, "qpc-x", "old"), (live, "later", "new")):
                place.mkdir()
                (place / name).write_text(program.replace("WORD", word))
                (place / name).chmod(0o755)
            environment = dict(os.environ, SERVICE="qpc-x", BUILT=str(built), LIVE=str(live))
            command = ["sh", str(calls.root / "k8s/dev/run.sh"), "--flag"]
            runner = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
            signal.alarm(30)
            try:
                assert runner.stdout.readline() == "old --flag\n"
                (live / "later").rename(live / "qpc-x")
                again = stop.replace("kill", 'cp "$LIVE/pid" "$LIVE/old"; touch "$LIVE/again"; kill')
                subprocess.run(["sh", "-c", again], env=environment, check=True, timeout=30)
                assert runner.stdout.readline() == "old drained\n"
                assert runner.stdout.readline() == "new --flag\n"
                if ended_by == "the runner":
                    runner.send_signal(signal.SIGTERM)
                else:
                    # Its number is of the old one until it is written.
                    changed = f'until [ "$(cat "$LIVE/pid")" -ne {(live / "old").read_text().strip()} ]; do :; done; {stop}'
                    subprocess.run(["sh", "-c", changed], env=environment, check=True, timeout=30)
                assert runner.stdout.readline() == "new drained\n"
                assert runner.stdout.readline() == "" and runner.wait() == 7, f"{ended_by} has ended"
            finally:
                signal.alarm(0)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(runner.pid, signal.SIGKILL)
                runner.wait()


def main():
    root, helm, kustomize, services = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    calls = Calls(root, helm if (root / CHART).is_file() else "-", kustomize, services)
    execute(calls)
    for check in (every_service_is_built_and_replaced, paths_exist, no_other_cluster, one_button_seeds, order_is_possible,
                  a_newer_program_is_started):
        report.judge(check, calls)
    # What needs all that is to run in the cluster.
    for check in (workloads_exist, images_are_the_charts, clients_get_in, metrics_are_found):
        if calls.missing:
            report.skipped(check, f"no {', '.join(calls.missing)}")
        else:
            report.judge(check, calls)
    report.end()


if __name__ == "__main__":
    main()
