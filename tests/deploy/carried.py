"""What the chart carries of others: the settings that values may hold, the rules and the dashboard.

``make chart`` brings it up to date; a test says when that is due.
"""

import re
from pathlib import Path
from typing import Final

from shared.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "warehouse-sync"
COPIES: Final = (ROOT / "deploy" / "prometheus" / "alerts.yml", ROOT / "deploy" / "grafana" / "warehouse-sync.json")
OWN_PLACE: Final = frozenset(
    {
        *("home", "log_format", "database_url", "broker_url", "spool_url", "secret_folder"),
        *("public_key", "private_keys", "pulse_file", "metrics_port"),
        *("alert_webhook_url", "alert_webhook_secret", "alert_slack_url", "alert_smtp_url"),
    }
)
"""Settings that the chart makes itself, or takes by reference because they are secrets."""
_SETTINGS: Final = re.compile(r'(?<="properties": \{\n)(?:        "\w+": \{"\$ref": "#/definitions/setting"\},?\n)+')


def schema() -> str:
    """Give the schema of values as it should be."""
    names = sorted(set(Settings.model_fields) - OWN_PLACE)
    lines = ",\n".join(f'        "{name}": {{"$ref": "#/definitions/setting"}}' for name in names)
    text, found = _SETTINGS.subn(f"{lines}\n", (CHART / "values.schema.json").read_text())
    if found != 1:
        raise ValueError("values.schema.json: expected one block with the settings, each on a line of its own")
    return text


def bring_up_to_date() -> None:
    """Write what the chart carries anew."""
    (CHART / "values.schema.json").write_text(schema())
    for original in COPIES:
        (CHART / "files" / original.name).write_bytes(original.read_bytes())


if __name__ == "__main__":
    bring_up_to_date()
