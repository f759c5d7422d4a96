"""What docker-compose.yml promises: the specification's form, the least that each service needs, nothing built in."""

import json
import re
import subprocess
from importlib.resources import files
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from shared.broker_rights import SUFFICES
from shared.messages import Queue
from shared.settings import PREFIX, Settings
from tests.deploy.compose import ROOT, Missing, Service, document, example, filled, interpolated, named, required
from tests.deploy.compose import services as read

SERVICES: Final = read(filled())
DOCKERFILE: Final = (ROOT / "deploy" / "Dockerfile").read_text()
OURS: Final = {name for name, service in SERVICES.items() if service.is_ours}
WORKERS: Final = {name for name in SERVICES if name.startswith("worker-")}
EXTRACT: Final = {"worker-extract", "worker-backfill-extract"}
UPLOAD: Final = {"worker-upload", "worker-backfill-upload"}

each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def test_it_keeps_the_specification() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    errors = [f"{list(error.path)}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document())]
    assert errors == []


def test_the_specification_refuses_what_it_does_not_know() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    wrong = {"services": {"api": {"image": "x", "comand": ["y"]}}}
    assert not Draft202012Validator(schema).is_valid(wrong)


def test_the_processes_are_those_of_every_deployment() -> None:
    without_profile = {name for name, service in SERVICES.items() if "profiles" not in service.told}
    processes = {"migrate", "beat", "api", "flower", *EXTRACT, *UPLOAD, "worker-control"}
    assert without_profile == processes | {"postgres", "valkey"}
    assert {name: service.told["profiles"] for name, service in SERVICES.items() if "profiles" in service.told} == {
        "mparticle": ["sandbox"],
        "minio": ["minio"],
        "minio-bucket": ["minio"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_one_service_builds_the_image_of_all() -> None:
    """Compose builds all at once, and the second that is done finds the name taken and fails."""
    assert [name for name, service in SERVICES.items() if "build" in service.told] == ["migrate"]
    assert {SERVICES[name].told["image"] for name in OURS} == {"warehouse-sync:local"}


@pytest.mark.parametrize("name", ["minio", "minio-bucket"])
def test_who_makes_folders_at_home_has_one_that_can_be_written(name: str) -> None:
    """Both do so before anything else; as root they would find the image's file system, which is read-only."""
    service = SERVICES[name]
    assert service.environment["HOME"] in {mount.partition(":")[0] for mount in service.told["tmpfs"]}


def test_what_may_grow_large_is_made_on_a_disk_and_not_in_memory() -> None:
    spilling = {name for name, service in SERVICES.items() if "TMPDIR" in service.environment}
    assert spilling == EXTRACT | {"api"}
    assert {SERVICES[name].environment["TMPDIR"] for name in spilling} == {"/scratch"}
    assert {name: SERVICES[name].mounts["/scratch"] for name in spilling} == {
        **dict.fromkeys(EXTRACT, "scratch"),
        "api": "downloads",
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_volume_of_ours_is_the_images_users(name: str) -> None:
    """A volume begins with the owner of the folder that it covers; what is not in the image would be root's."""
    (made,) = re.findall(r"install --directory --owner=10001 --group=10001 --mode=0700 (.+)", DOCKERFILE)
    mounted = {one["target"] for one in SERVICES[name].told.get("volumes", []) if one["type"] == "volume"}
    assert mounted <= set(made.split())


def test_every_queue_is_served_and_no_worker_serves_both_lanes() -> None:
    served = {name: SERVICES[name].command[SERVICES[name].command.index("-Q") + 1].split(",") for name in WORKERS}
    assert sorted(queue for queues in served.values() for queue in queues) == sorted(Queue)
    assert all(len({queue.endswith(".backfill") for queue in queues}) == 1 for queues in served.values())


@each
def test_a_service_is_confined(service: Service) -> None:
    told = service.told
    assert told["read_only"] is True
    assert told["cap_drop"] == ["ALL"]
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "extra_hosts"}.isdisjoint(told)
    assert set(told["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert told["logging"]["options"]["max-size"]
    assert told["restart"] == ("no" if service.name in {"migrate", "minio-bucket"} else "unless-stopped")
    for mount in told["tmpfs"]:
        assert {"noexec", "nosuid", "nodev"} <= set(mount.partition(":")[2].split(","))
    for mount in told.get("volumes", []):
        assert mount["type"] == "volume" or mount["read_only"], mount


@each
def test_a_service_says_whether_it_is_well(service: Service) -> None:
    assert (
        service.told["healthcheck"] == {"disable": True} if service.runs_once else service.told["healthcheck"]["test"]
    )


@each
def test_a_foreign_image_has_an_exact_tag(service: Service) -> None:
    if not service.is_ours:
        assert re.fullmatch(r"[\w./-]+:(v?\d+\.\d+.*|RELEASE\.[\dTZ-]+)", service.told["image"]), service.told["image"]


@each
def test_a_published_port_is_the_loopbacks_unless_told_otherwise(service: Service) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.told.get("ports", []))
    assert not service.told.get("ports") or "front" in service.networks


def test_only_workers_reach_outside() -> None:
    assert {name for name, service in SERVICES.items() if "outside" in service.networks} == WORKERS
    networks = document()["networks"]
    assert {name for name, network in networks.items() if not network.get("internal")} == {"outside", "front"}
    assert networks["front"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    for server in ("postgres", "valkey"):
        assert SERVICES[server].networks == ["services"]


def test_secrets_reach_only_who_opens_them() -> None:
    def holders(target: str) -> set[str]:
        return {name for name, service in SERVICES.items() if target in service.mounts}

    assert holders("/run/keys") == EXTRACT | UPLOAD
    assert holders("/run/secrets/warehouses") == EXTRACT
    # worker-extract serves `probe`, which tests a feed's sign-in.
    assert holders("/run/secrets/feeds") == UPLOAD | {"worker-extract"}
    assert holders("/run/secrets/alerts") == {"worker-control"}
    files = {name: [file["path"] for file in service.told.get("env_file", [])] for name, service in SERVICES.items()}
    assert {name for name, paths in files.items() if "./alerts.env" in paths} == {"worker-control"}
    assert {name for name, paths in files.items() if "./settings.env" in paths} == OURS
    assert {name for name, service in SERVICES.items() if service.told.get("secrets")} == {"mparticle"}
    named_keys = {name for name in SERVICES if f"{PREFIX}PRIVATE_KEYS" in SERVICES[name].environment}
    assert named_keys == EXTRACT | UPLOAD
    assert {name for name in OURS if "/spool" in SERVICES[name].mounts} == WORKERS | {"api"}


def test_whoever_runs_compose_can_read_the_files_of_variables() -> None:
    """Folders of secrets are the containers' user's, and Compose reads these files itself."""
    paths = {file["path"] for service in SERVICES.values() for file in service.told.get("env_file", [])}
    assert paths == {"./settings.env", "./alerts.env"}
    assert {path.removeprefix(".") for path in paths} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_the_quick_start_makes_every_folder_of_secrets_that_is_mounted() -> None:
    mounted = {path for service in SERVICES.values() for path in service.mounts.values() if "secrets/" in path}
    (made,) = re.findall(r"mkdir -p (.+)", (ROOT / "deploy" / "README.md").read_text())
    assert {path.removeprefix("./") for path in mounted} <= set(made.split())


def test_no_service_knows_a_password_that_it_does_not_need() -> None:
    planted = {name: f"planted-{name.lower()}" for name in named()}
    told = read(filled() | planted)

    def knowing(variable: str) -> set[str]:
        return {name for name, service in told.items() if planted[variable] in json.dumps(service.told)}

    storing = WORKERS | {"api"}
    assert knowing("POSTGRES_ADMIN_PASSWORD") == {"postgres"}
    assert knowing("DATABASE_OWNER_PASSWORD") == {"postgres", "migrate"}
    assert knowing("DATABASE_APP_PASSWORD") == {"postgres", "beat"} | storing
    assert knowing("DATABASE_READER_PASSWORD") == {"postgres"}
    assert knowing("BROKER_PASSWORD") == {"valkey", "beat", "flower"} | storing
    assert knowing("FLOWER_PASSWORD") == {"flower"}
    assert knowing("SPOOL_SECRET_KEY") == {"minio", "minio-bucket"} | storing
    assert knowing("GRAFANA_PASSWORD") == {"grafana"}


def test_no_password_stands_on_a_command_line() -> None:
    secret = {name for name in named() if name.endswith(("_PASSWORD", "_KEY")) and name != "PUBLIC_KEY"}
    assert len(secret) > 7
    for name, service in document()["services"].items():
        words = json.dumps([service.get(part) for part in ("command", "entrypoint", "healthcheck")])
        assert not [variable for variable in secret if f"${{{variable}" in words], name


@pytest.mark.parametrize("variable", sorted(required()))
def test_a_password_has_no_default(variable: str) -> None:
    assert example()[variable] == ""
    with pytest.raises(Missing, match=variable):
        read(filled() | {variable: ""})


@pytest.mark.parametrize(("name", "variable"), [("minio", "SPOOL_SECRET_KEY"), ("grafana", "GRAFANA_PASSWORD")])
def test_a_profile_without_its_password_does_not_start_with_a_well_known_one(name: str, variable: str) -> None:
    service = SERVICES[name]
    assert not service.environment[{"minio": "MINIO_ROOT_PASSWORD", "grafana": "GF_SECURITY_ADMIN_PASSWORD"}[name]]
    ended = subprocess.run(service.command, env=service.environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert variable in ended.stderr


def test_the_example_names_every_variable_with_its_default_and_no_other() -> None:
    assert {name: default or "" for name, default in named().items()} == example()
    assert {name for name in example() if name.endswith("PASSWORD")} - required() == {"GRAFANA_PASSWORD"}


def test_every_setting_that_a_service_is_given_is_one() -> None:
    given = {variable for service in SERVICES.values() for variable in service.environment if PREFIX in variable}
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert given - known == set()


def test_whoever_needs_the_schema_waits_for_it() -> None:
    for name in OURS - {"migrate", "flower", "mparticle"}:
        waits = SERVICES[name].told["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}, name
        assert waits["minio-bucket"]["required"] is False


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_a_worker_has_longer_than_its_soft_shutdown_and_a_request_to_end(name: str) -> None:
    limits = Settings.model_validate({})
    grace_s = int(SERVICES[name].told["stop_grace_period"].removesuffix("s"))
    assert grace_s > limits.soft_shutdown_s + limits.request_timeout_s
    assert SERVICES[name].environment["REMAP_SIGTERM"] == "SIGQUIT"


def test_every_file_that_is_mounted_from_the_repository_is_there() -> None:
    sources = {source for service in SERVICES.values() for source in service.mounts.values() if "./deploy/" in source}
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_brokers_user_has_the_rights_that_suffice_and_no_more() -> None:
    assert (ROOT / "deploy" / "valkey" / "rights").read_text() == f"{SUFFICES}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${A}", "a"),
        ("${UNSET}", ""),
        ("${UNSET:-b}/${A:-b}", "b/a"),
        ("${A:?set it}", "a"),
        ("$${A}", "${A}"),
        ([{"x": "${A}"}, 3], [{"x": "a"}, 3]),
    ],
)
def test_interpolation_is_composes(text: object, found: object) -> None:
    assert interpolated(text, {"A": "a", "EMPTY": ""}) == found


def test_an_empty_variable_counts_as_none_where_one_is_required() -> None:
    with pytest.raises(Missing, match=r"EMPTY.*say how"):
        interpolated("${EMPTY:?say how}", {"EMPTY": ""})
