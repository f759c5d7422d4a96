{{/* A component's volumes, each with its mount, as a list of {volume, mount}. Takes root, component and values. */}}
{{- define "ws.mounted" -}}
{{- $values := .root.Values -}}
{{- $needs := index (include "ws.needs" .root | fromYaml) .component -}}
- volume: {name: tmp, emptyDir: {sizeLimit: {{ .values.tmpSize }}}}
  mount: {name: tmp, mountPath: /tmp}
{{- with include "ws.caSource" .root }}
- volume: {name: ca, {{ . }}}
  mount: {name: ca, mountPath: /etc/warehouse-sync/ca, readOnly: true}
{{- end }}
{{- if has "spool" $needs }}
{{- with $values.spool.existingClaim }}
- volume: {name: spool, persistentVolumeClaim: {claimName: {{ quote . }}}}
  mount: {name: spool, mountPath: /spool}
{{- end }}
{{- with $values.spool.secretFiles }}
- volume: {name: spool-secrets, secret: {secretName: {{ quote . }}, defaultMode: 0440}}
  mount: {name: spool-secrets, mountPath: /etc/warehouse-sync/spool, readOnly: true}
{{- end }}
{{- end }}
{{- if has "keys" $needs }}
{{- with $values.secrets.privateKeys }}
{{- if .existingSecret }}
- volume: {name: private-keys, secret: {secretName: {{ quote .existingSecret }}, items: [{key: {{ quote .key }}, path: private-keys}], defaultMode: 0440}}
  mount: {name: private-keys, mountPath: /etc/warehouse-sync/keys, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
{{- if has "warehouses" $needs }}
{{- with $values.secrets.warehouses.files }}
- volume: {name: warehouse-secrets, secret: {secretName: {{ quote . }}, defaultMode: 0440}}
  mount: {name: warehouse-secrets, mountPath: /etc/warehouse-sync/secrets/warehouses, readOnly: true}
{{- end }}
{{- end }}
{{- if has "feeds" $needs }}
{{- with $values.secrets.feeds.files }}
- volume: {name: feed-secrets, secret: {secretName: {{ quote . }}, defaultMode: 0440}}
  mount: {name: feed-secrets, mountPath: /etc/warehouse-sync/secrets/feeds, readOnly: true}
{{- end }}
{{- end }}
{{- if has "alerts" $needs }}
{{- with $values.alerts.files }}
- volume: {name: alert-secrets, secret: {secretName: {{ quote . }}, defaultMode: 0440}}
  mount: {name: alert-secrets, mountPath: /etc/warehouse-sync/secrets/alerts, readOnly: true}
{{- end }}
{{- end }}
{{- if has "flower" $needs }}
- volume: {name: flower-users, secret: {secretName: {{ quote $values.flower.auth.existingSecret }}, items: [{key: {{ quote $values.flower.auth.key }}, path: users}], defaultMode: 0440}}
  mount: {name: flower-users, mountPath: /etc/warehouse-sync/flower, readOnly: true}
{{- with $values.flower.persistence }}
{{- if .enabled }}
- volume: {name: flower, persistentVolumeClaim: {claimName: {{ default (printf "%s-flower" (include "ws.fullname" $.root)) .existingClaim | quote }}}}
{{- else }}
- volume: {name: flower, emptyDir: {sizeLimit: {{ .size }}}}
{{- end }}
  mount: {name: flower, mountPath: /var/lib/flower}
{{- end }}
{{- end }}
{{- range .values.extraVolumes }}
- volume: {{ toJson . }}
{{- end }}
{{- range .values.extraVolumeMounts }}
- mount: {{ toJson . }}
{{- end }}
{{- end }}
