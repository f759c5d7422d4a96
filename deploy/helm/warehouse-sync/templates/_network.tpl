{{/* One egress rule. Takes told ({to, ports}); anywhere: an empty `to` means any pod, too; udp: over UDP as well. */}}
{{- define "ws.egress" -}}
- ports:
    {{- range .told.ports }}
    {{- if $.udp }}
    - {protocol: UDP, port: {{ int . }}}
    {{- end }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- if .told.to }}
  to:
    {{- toYaml .told.to | nindent 4 }}
  {{- else if not .anywhere }}
  to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}
    - ipBlock: {cidr: "::/0", except: ["fe80::/10", "fd00:ec2::254/128"]}
  {{- end }}
{{- end }}

{{/* A policy for some components. Takes root, name, components (empty: all of this release) and rules (YAML). */}}
{{- define "ws.policy" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "ws.fullname" .root }}-{{ .name }}
  labels:
    {{- include "ws.labels" (dict "root" .root "component" "") | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ws.selector" (dict "root" .root "component" "") | nindent 6 }}
    {{- with .components }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson . }}}
    {{- end }}
  {{- .rules | nindent 2 }}
{{- end }}
