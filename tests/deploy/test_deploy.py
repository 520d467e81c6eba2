"""deploy/: what we ship passes every check, and the checks see what is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from bank_nodes.folder.home import KIT, Home
from fraudfl.errors import TrustError
from fraudfl.trust.enrolment import read_enrolment
from fraudfl.trust.keys import fingerprint, load_key
from server.trust.certificates import Hosts
from server.trust.pki import Pki

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def _lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lint_deploy", ROOT / ".ci" / "lint_deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lint = _lint()


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, f"{path.name} no longer has {before!r}"
    path.write_text(text.replace(before, after))


def test_what_we_ship_has_no_problem() -> None:
    assert list(lint.problems(DEPLOY)) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "complaint"),
    [
        ("container/Containerfile.bank", "USER 10001:10001", "USER root", "USER"),
        ("container/Containerfile.bank", "python -m pip uninstall", "python -m pip list", "without pip"),
        ("container/Containerfile.bank", "pip wheel", "pip wheel --index-url https://pypi.org/simple", "index"),
        ("container/Containerfile.coordinator", "WORKDIR /src", "WORKDIR src", "DL3000"),
        ("container/Containerfile.coordinator", "HEALTHCHECK --interval=30s", "# HEALTHCHECK", "HEALTHCHECK"),
        ("container/compose.yaml", "read_only: true\n  user", "read_only: false\n  user", "read_only"),
        ("container/compose.yaml", "cap_drop: [ALL]", "cap_drop: [NET_RAW]", "cap_drop"),
        ("container/compose.yaml", 'user: "10001:10001"', 'user: "0:0"', "root"),
        ("container/compose.yaml", "    command: [run, /data/west]", '    ports: ["1:1"]', "publishes"),
        ("container/compose.yaml", "  pids_limit: 256", "  pids_limits: 256", "not a Compose file"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "root"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", "drop: [ALL]", "add: [ALL]", "capabilities"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", "defaultMode: 0400", "defaultMode: 0644", "0400"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", "fsGroup:", "fsgroup:", "fsgroup"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", "replicas: 1", "replicas: one", "replicas"),
        ("helm/fraudfl-bank/templates/statefulset.yaml", ".Values.image |", ".Values.picture |", "names no value"),
        ("helm/fraudfl-coordinator/templates/service.yaml", ".Release.Name |", ".Release.Name | upper |", "more than"),
        ("helm/fraudfl-coordinator/templates/networkpolicy.yaml", "protocol: TCP", "protocol: 7", "protocol"),
    ],
)
def test_a_mistake_is_seen(deploy: Path, file: str, before: str, after: str, complaint: str) -> None:
    _edit(deploy / file, before, after)
    assert complaint in "\n".join(_problems_of(deploy / file))


def _problems_of(file: Path) -> list[str]:
    if file.name == "compose.yaml":
        return list(lint.compose_problems(file))
    if file.parent.name == "container":
        return list(lint.containerfile_problems([file]))
    return list(lint.chart_problems(file.parent.parent))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RestartSec=15", "RestartSec=soon"),
        ("CapabilityBoundingSet=\n", ""),
        ("SystemCallFilter=@system-service\n", ""),
    ],
)
def test_a_weak_or_wrong_unit_is_seen(deploy: Path, before: str, after: str) -> None:
    for unit in (deploy / "systemd").glob("*.service"):
        _edit(unit, before, after)
    told = list(lint.unit_problems(sorted((deploy / "systemd").glob("*.service"))))
    assert len(told) == 2, told


def test_the_same_text_is_quoted_as_yaml_reads_it(deploy: Path) -> None:
    chart = deploy / "helm" / "fraudfl-bank"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    values["policy"] = "hours: {zone: 'Europe/Oslo'}\nuncovered: [\"a \\ b\"]\n# ε\n"
    (chart / "values.yaml").write_text(yaml.safe_dump(values, allow_unicode=True))
    manifest = dict(lint.render(chart))["statefulset.yaml"]
    folder = manifest["spec"]["template"]["spec"]["initContainers"][0]
    assert {item["name"]: item["value"] for item in folder["env"]}["POLICY"] == values["policy"]


def test_a_bank_opens_no_port_and_reaches_the_coordinator_and_names_alone() -> None:
    policy = dict(lint.render(DEPLOY / "helm" / "fraudfl-bank"))["networkpolicy.yaml"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    ports = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
    assert ports == [{9092}, {53}]
    assert all(rule["to"] for rule in policy["egress"])


def _script(chart: str) -> str:
    pod = dict(lint.render(DEPLOY / "helm" / chart))["statefulset.yaml"]["spec"]["template"]["spec"]
    return str(pod["initContainers"][0]["command"][-1])


def _run_in(folder: Path, script: str, **environment: str) -> None:
    """Run an init container's script with its mounts in `folder`."""
    for mount in ("data", "keys", "secret", "kit", "pki"):
        (folder / mount).mkdir(exist_ok=True)
        script = re.sub(rf'(?<=[ "])/{mount}(?=[/ "])', str(folder / mount), script)
    done = subprocess.run(
        ["/bin/sh", "-ec", script],
        env={**os.environ, **environment, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _as_a_secret(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Files as the kubelet gives them to a pod with a group: readable by it."""
    target.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)
        (target / name).chmod(0o440)


def test_the_bank_charts_script_makes_a_folder_that_the_daemon_takes(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path / "pki-made", "harbour", Hosts(("localhost",)))
    home = Home.create(tmp_path / "north", "north")
    pki.add(read_enrolment(tmp_path / "north" / "enrolment.json"))
    pki.write_kit(tmp_path / "kit")
    _as_a_secret(home.path / "keys", tmp_path / "secret", ("bank.key", "bank.pub"))
    _as_a_secret(home.path, tmp_path / "secret", ("enrolment.json",))
    with pytest.raises(TrustError, match="0440"):
        load_key(tmp_path / "secret" / "bank.key")

    policy = "uncovered: []\n"
    for _ in range(2):  # a pod starts more than once
        _run_in(tmp_path, _script("fraudfl-bank"), BANK="north", OPERATOR=fingerprint(pki.operator), POLICY=policy)
    folder = tmp_path / "data" / "north"
    # The cluster mounts the keys there.
    (folder / "keys").rmdir()
    (tmp_path / "keys").rename(folder / "keys")
    made = Home(folder)
    assert made.key().private_numbers() == home.key().private_numbers()
    assert stat.S_IMODE((folder / "keys" / "bank.key").stat().st_mode) == 0o600
    assert made.roster().number == 2
    assert (folder / "policy.yaml").read_text() == policy
    assert all((folder / name).exists() for name in KIT)


def test_the_coordinator_charts_secret_is_all_that_serving_needs(tmp_path: Path) -> None:
    source = Pki.create(tmp_path / "made", "harbour", Hosts(("localhost",)))
    names = ("consortium.json", "ca.pem", "coordinator.pem", "coordinator.key", "operator.pub", "roster.json")
    _as_a_secret(source.folder, tmp_path / "secret", names)
    _run_in(tmp_path, _script("fraudfl-coordinator"))
    served = Pki(tmp_path / "pki")
    assert sorted(path.name for path in served.folder.iterdir()) == sorted(names)
    assert load_key(served.coordinator_key).key_size == 384
    assert served.roster() == source.roster()
    assert served.consortium == "harbour"


def test_the_units_and_images_run_commands_and_ports_that_exist() -> None:
    units = [(DEPLOY / "systemd" / name).read_text() for name in ("bank-node@.service", "fraudfl-coordinator.service")]
    images = [(DEPLOY / "container" / f"Containerfile.{name}").read_text() for name in ("bank", "coordinator")]
    for text, command in zip([*units, *images], ("bank-node", "fraudfl") * 2, strict=True):
        assert command in text
    assert _health_port(images[0]) == _default_port("bank_nodes/cli.py")
    assert _health_port(images[1]) == _default_port("fraudfl/config_coordinator.py")


def _health_port(containerfile: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/health", containerfile)
    assert found is not None
    return found.group(1)


def _default_port(source: str) -> str:
    found = re.search(r'"127\.0\.0\.1:(946\d)"', (ROOT / source).read_text())
    assert found is not None
    return found.group(1)


def test_the_compose_file_gives_each_bank_a_volume_and_a_folder_of_its_own() -> None:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())["services"]
    banks = {name: service for name, service in services.items() if name != "coordinator"}
    assert len(banks) == 3
    for name, service in banks.items():
        assert service["volumes"] == [f"{name}:/data"]
        assert service["command"] == ["run", f"/data/{name}"]
    assert json.dumps(services["coordinator"]["ports"]) == '["9092:9092"]'
