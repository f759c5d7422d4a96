"""Which channels the settings of a worker name."""

from collections.abc import Mapping

from shared.alerts import Channel as Name
from shared.settings import Settings
from worker.channels.base import Channel
from worker.channels.mail import Mail
from worker.channels.slack import Slack
from worker.channels.webhook import Webhook


def channels_of(settings: Settings) -> Mapping[Name, Channel]:
    """Give the channels that are configured; nothing is resolved or reached yet."""
    found: dict[Name, Channel] = {}
    if settings.alert_webhook_url is not None:
        found[Name.WEBHOOK] = Webhook(settings, settings.alert_webhook_url)
    if settings.alert_slack_url is not None:
        found[Name.SLACK] = Slack(settings, settings.alert_slack_url)
    if settings.alert_smtp_url is not None:
        found[Name.EMAIL] = Mail(settings, settings.alert_smtp_url)
    return found
