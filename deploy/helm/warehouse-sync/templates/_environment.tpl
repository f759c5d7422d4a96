{{/* A component's environment: what it needs, by reference where it is secret. Takes root and component. */}}
{{- define "ws.env" -}}
{{- $values := .root.Values -}}
{{- $needs := index (include "ws.needs" .root | fromYaml) .component -}}
- {name: HOME, value: /tmp}
- {name: WAREHOUSE_SYNC_HOME, value: /tmp/warehouse-sync}
- {name: WAREHOUSE_SYNC_LOG_FORMAT, value: json}
{{- if has "owner" $needs }}
{{- $owner := ternary $values.migrate.database $values.database (ne $values.migrate.database.existingSecret "") }}
{{ include "ws.secretEnv" (dict "name" "WAREHOUSE_SYNC_DATABASE_URL" "secretName" $owner.existingSecret "key" $owner.urlKey) }}
{{- end }}
{{- if has "store" $needs }}
{{ include "ws.secretEnv" (dict "name" "WAREHOUSE_SYNC_DATABASE_URL" "secretName" $values.database.existingSecret "key" $values.database.urlKey) }}
{{- end }}
{{- if has "broker" $needs }}
{{ include "ws.secretEnv" (dict "name" "WAREHOUSE_SYNC_BROKER_URL" "secretName" $values.broker.existingSecret "key" $values.broker.urlKey) }}
{{- end }}
{{- if has "pulse" $needs }}
- {name: WAREHOUSE_SYNC_PULSE_FILE, value: /tmp/pulse}
{{- end }}
{{- if hasPrefix "worker-" .component }}
# Kubernetes sends SIGTERM; Celery's soft shutdown, which gives work back, begins with SIGQUIT.
- {name: REMAP_SIGTERM, value: SIGQUIT}
{{- end }}
{{- if has "spool" $needs }}
- {name: WAREHOUSE_SYNC_SPOOL_URL, value: {{ ternary "file:///spool" $values.spool.url (ne $values.spool.existingClaim "") | quote }}}
{{- range $values.spool.secretEnv }}
{{ include "ws.secretEnv" . }}
{{- end }}
{{- end }}
{{- if has "public-key" $needs }}
{{- with $values.secrets.publicKey }}
- {name: WAREHOUSE_SYNC_PUBLIC_KEY, value: {{ quote . }}}
{{- end }}
{{- end }}
{{- if and (has "keys" $needs) $values.secrets.privateKeys.existingSecret }}
- {name: WAREHOUSE_SYNC_PRIVATE_KEYS, value: /etc/warehouse-sync/keys/private-keys}
{{- end }}
{{- if or (has "warehouses" $needs) (has "feeds" $needs) (has "alerts" $needs) }}
# Not /run/secrets: clouds mount tokens of their own there, which no declaration may name.
- {name: WAREHOUSE_SYNC_SECRET_FOLDER, value: /etc/warehouse-sync/secrets}
{{- end }}
{{- if has "warehouses" $needs }}
{{- range $values.secrets.warehouses.env }}
{{ include "ws.secretEnv" . }}
{{- end }}
{{- end }}
{{- if has "feeds" $needs }}
{{- range $values.secrets.feeds.env }}
{{ include "ws.secretEnv" . }}
{{- end }}
{{- end }}
{{- if has "alerts" $needs }}
{{- range $values.alerts.env }}
{{ include "ws.secretEnv" . }}
{{- end }}
{{- end }}
{{- if include "ws.caSource" .root }}
- {name: PGSSLROOTCERT, value: /etc/warehouse-sync/ca/ca.crt}
{{- if $values.caBundle.forEverything }}
- {name: SSL_CERT_FILE, value: /etc/warehouse-sync/ca/ca.crt}
- {name: AWS_CA_BUNDLE, value: /etc/warehouse-sync/ca/ca.crt}
{{- end }}
{{- end }}
{{- range $name, $value := $values.settings }}
- {name: WAREHOUSE_SYNC_{{ upper $name }}, value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ws.secretEnv" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ quote .secretName }}, key: {{ quote .key }}}}
{{- end }}

{{- define "ws.caSource" -}}
{{- with .Values.caBundle -}}
{{- if .existingSecret -}}
secret: {secretName: {{ quote .existingSecret }}, items: [{key: {{ quote .key }}, path: ca.crt}], defaultMode: 0440}
{{- else if .existingConfigMap -}}
configMap: {name: {{ quote .existingConfigMap }}, items: [{key: {{ quote .key }}, path: ca.crt}]}
{{- end -}}
{{- end -}}
{{- end }}
