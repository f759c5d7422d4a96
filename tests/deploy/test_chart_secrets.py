"""Every process gets the secrets that it uses, and no others."""

import pytest
import yaml

from tests.deploy.charts import SETS, component, container, objects, of_kind, secrets_of, templates

WAREHOUSES = {"a-warehouse", "warehouse-files"}
FEEDS = {"a-feed", "feed-files"}
BUCKET = {"the-bucket", "bucket-files"}
SERVICES = {"the-database", "the-broker"}
EXPECTED = {
    "migrate": {"the-owner"},
    "beat": SERVICES,
    "worker-control": SERVICES | BUCKET | {"the-channel", "channel-files"},
    # Its queue `probe` tests whether feeds sign in.
    "worker-extract": SERVICES | BUCKET | WAREHOUSES | FEEDS | {"the-keys"},
    "worker-backfill-extract": SERVICES | BUCKET | WAREHOUSES | {"the-keys"},
    "worker-upload": SERVICES | BUCKET | FEEDS | {"the-keys"},
    "worker-backfill-upload": SERVICES | BUCKET | FEEDS | {"the-keys"},
    "api": SERVICES | BUCKET,
    "flower": {"the-broker", "who-may-use-flower"},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_process_gets_its_own_secrets_only(kind: str) -> None:
    assert secrets_of(component(kind, objects(SETS["everything"]))) == EXPECTED[kind]


def test_all_processes_are_looked_at() -> None:
    assert {kind for kind, _ in templates(objects(SETS["everything"]))} == set(EXPECTED)


def test_one_switch_keeps_feeds_secrets_in_upload_workers() -> None:
    made = objects(SETS["feeds in upload workers only"])
    holders = {kind for kind, template in templates(made) if secrets_of(template) & FEEDS}
    assert holders == {"worker-upload", "worker-backfill-upload"}
    both = {kind for kind, template in templates(made) if secrets_of(template) >= {"a-warehouse"}}
    assert both == {"worker-extract", "worker-backfill-extract"}


def test_no_object_holds_a_secret_itself() -> None:
    for name, values in SETS.items():
        made = objects(values)
        assert of_kind("Secret", made) == [], name
        assert "stringData" not in yaml.safe_dump_all(made)


def test_secret_files_are_read_only_and_their_group_s_alone() -> None:
    for _, template in templates(objects(SETS["everything"])):
        secret = {volume["name"] for volume in template["spec"]["volumes"] if "secret" in volume}
        for volume in template["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
        for mount in container(template)["volumeMounts"]:
            assert mount["name"] not in secret or mount["readOnly"] is True
        assert template["spec"]["securityContext"]["fsGroup"] > 0


def test_references_lead_to_mounted_secrets_only_and_never_to_a_clouds_token_or_the_private_keys() -> None:
    for kind, template in templates(objects(SETS["everything"])):
        environment = {one["name"]: one.get("value", "") for one in container(template)["env"]}
        folder = environment.get("WAREHOUSE_SYNC_SECRET_FOLDER")
        mounts = {mount["mountPath"] for mount in container(template)["volumeMounts"]}
        if kind in {"worker-extract", "worker-upload", "worker-backfill-extract", "worker-backfill-upload"}:
            assert folder == "/etc/warehouse-sync/secrets"
            within = {path.removeprefix(f"{folder}/") for path in mounts if path.startswith(f"{folder}/")}
            assert within <= {"warehouses", "feeds"}
            assert not environment["WAREHOUSE_SYNC_PRIVATE_KEYS"].startswith(f"{folder}/")
        elif kind == "worker-control":
            assert folder == "/etc/warehouse-sync/secrets"
            assert {path for path in mounts if path.startswith(f"{folder}/")} == {f"{folder}/alerts"}
        else:
            assert folder is None


def test_service_accounts_are_the_workers_the_apis_and_the_rest() -> None:
    made = objects(SETS["everything"])
    accounts = {kind: template["spec"]["serviceAccountName"] for kind, template in templates(made)}
    assert {accounts[kind] for kind in accounts if kind.startswith("worker-")} == {"prod-warehouse-sync-workers"}
    assert accounts["api"] == "prod-warehouse-sync-api"
    assert accounts["beat"] == accounts["flower"] == "prod-warehouse-sync-rest"
    assert accounts["migrate"] == "default"
    made_here = {one["metadata"]["name"]: one for one in of_kind("ServiceAccount", made)}
    assert set(accounts.values()) - {"default"} == set(made_here)
    assert all(one["automountServiceAccountToken"] is False for one in made_here.values())
