{{/* Names and labels. A component is a kind of process: beat, worker-upload, api, ... */}}

{{- define "ws.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 38 | trimSuffix "-" -}}
{{- end }}

{{/* 38 characters leave room for the longest component, so that a Deployment's name is never cut. */}}
{{- define "ws.fullname" -}}
{{- $name := include "ws.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 38 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 38 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 38 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects a component's pods; it never changes between versions. Takes root and component. */}}
{{- define "ws.selector" -}}
app.kubernetes.io/name: {{ include "ws.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "ws.labels" -}}
{{ include "ws.selector" . }}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion .root.Values.image.tag | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "ws.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{/* The name of a service account. Takes root and account: workers, api or rest. */}}
{{- define "ws.serviceAccount" -}}
{{- $told := index .root.Values.serviceAccounts .account -}}
{{- if $told.create -}}
{{- default (printf "%s-%s" (include "ws.fullname" .root) .account) $told.name -}}
{{- else -}}
{{- default "default" $told.name -}}
{{- end -}}
{{- end }}

{{/* What Prometheus calls this installation. */}}
{{- define "ws.job" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "ws.fullname" .)) .Values.metrics.job -}}
{{- end }}

{{/* The kinds of workers: what each is called, where its values are, what it takes and how. */}}
{{- define "ws.workers" -}}
control: {component: worker-control, node: control, queues: [control], pool: threads}
extract: {component: worker-extract, node: extract, queues: [probe, extract], pool: threads, lane: live}
upload: {component: worker-upload, node: upload, queues: [upload], pool: prefork}
backfillExtract: {component: worker-backfill-extract, node: backfill-extract, queues: [extract.backfill], pool: threads, lane: backfill}
backfillUpload: {component: worker-backfill-upload, node: backfill-upload, queues: [upload.backfill], pool: prefork}
{{- end }}

{{/* What a process needs, and nothing else is given to it. */}}
{{- define "ws.needs" -}}
migrate: [owner]
beat: [store, broker, pulse]
worker-control: [store, broker, pulse, spool, alerts]
worker-extract: [store, broker, pulse, spool, keys, warehouses{{ if .Values.secrets.feeds.inWorkerExtract }}, feeds{{ end }}]
worker-upload: [store, broker, pulse, spool, keys, feeds]
worker-backfill-extract: [store, broker, pulse, spool, keys, warehouses]
worker-backfill-upload: [store, broker, pulse, spool, keys, feeds]
api: [store, broker, spool, public-key]
flower: [broker, flower]
{{- end }}
