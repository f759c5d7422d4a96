{{/* A pod of one container. Takes root, component, values, account, command (a list), grace (seconds) and, where there
are some, ports and probes (YAML). */}}
{{- define "ws.podTemplate" -}}
{{- $pod := .root.Values.pod -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "ws.labels" . | nindent 4 }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with mergeOverwrite (deepCopy $pod.annotations) (default dict $values.annotations) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "ws.podSpec" . | nindent 2 }}
{{- end }}

{{- define "ws.podSpec" -}}
{{- $pod := .root.Values.pod -}}
{{- $values := .values -}}
{{- $mounted := include "ws.mounted" . | fromYamlArray -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
# Kubernetes would name every Service in the environment, as WAREHOUSE_SYNC_... where a release is called so.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .grace }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ quote . }}
  {{- end }}
{{- end }}
{{- with default $pod.priorityClassName $values.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- with $pod.runtimeClassName }}
runtimeClassName: {{ quote . }}
{{- end }}
{{- with default $pod.nodeSelector $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $pod.tolerations $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $pod.affinity $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $pod.topologySpread (ne .component "migrate") }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "ws.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int $pod.runAsUser }}
  runAsGroup: {{ int $pod.runAsGroup }}
  fsGroup: {{ int $pod.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- if eq .component "migrate" }}
restartPolicy: Never
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "ws.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: {{ toJson .command }}
    env:
      {{- include "ws.env" . | nindent 6 }}
    {{- with .ports }}
    ports:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .probes }}
    {{- . | nindent 4 }}
    {{- end }}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
      {{- range $mounted }}
      {{- with .mount }}
      - {{ toJson . }}
      {{- end }}
      {{- end }}
volumes:
  {{- range $mounted }}
  {{- with .volume }}
  - {{ toJson . }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Of what has a pulse. A busy worker has one: its loop sends heartbeats while its tasks work. */}}
{{- define "ws.pulseProbes" -}}
{{- $probes := .Values.probes -}}
startupProbe:
  exec: {command: [python, -m, shared.pulse]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ max 1 (div (int $probes.startWithinSeconds) 5) }}
readinessProbe:
  exec: {command: [python, -m, shared.pulse]}
  periodSeconds: 15
  timeoutSeconds: 10
livenessProbe:
  exec: {command: [python, -m, shared.pulse]}
  periodSeconds: 60
  timeoutSeconds: 30
  failureThreshold: {{ max 1 (div (sub (int $probes.restartAfterSeconds) 60) 60) }}
{{- end }}

{{/* Of what answers over HTTP. Takes root, port (a name) and path. */}}
{{- define "ws.httpProbes" -}}
startupProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ max 1 (div (int .root.Values.probes.startWithinSeconds) 5) }}
readinessProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}
