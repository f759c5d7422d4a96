"""How people are told of alerts: by a webhook, in Slack, by e-mail."""
