{{/*
What a pod needs to have a sidecar. A parent chart that has this one as a dependency includes these
with `.Subcharts.sidecar`; README.md shows where each belongs.
*/}}

{{/* A container: in front of a model server in the same pod, and what the gateway runs. */}}
{{- define "sidecar.container" -}}
- name: sidecar
{{- include "sidecar.containerBody" . | nindent 2 }}
{{- end -}}

{{/* An init container that stays (Kubernetes 1.29): it starts before the application and ends after
it. For an application that asks a model elsewhere. */}}
{{- define "sidecar.nativeContainer" -}}
{{- if semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail "sidecar.nativeContainer needs Kubernetes 1.29; include sidecar.container under containers instead" -}}
{{- end -}}
- name: sidecar
  restartPolicy: Always
{{- include "sidecar.containerBody" . | nindent 2 }}
{{- end -}}

{{/* An init container that ends: it keeps a pod from starting with a configuration that is wrong. */}}
{{- define "sidecar.checkContainer" -}}
- name: sidecar-check
  image: {{ include "sidecar.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [check, /etc/sidecar/sidecar.yaml]
{{- include "sidecar.environment" . | nindent 2 }}
{{- include "sidecar.mounts" . | nindent 2 }}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext: {{- toYaml .Values.securityContext | nindent 4 }}
{{- end -}}

{{- define "sidecar.volumes" -}}
- name: sidecar-config
  configMap:
    name: {{ include "sidecar.fullname" . }}
    items:
      - {key: sidecar.yaml, path: sidecar.yaml}
      {{- range $id, $_ := .Values.formats }}
      - {key: {{ printf "formats.%s.yaml" $id | quote }}, path: {{ printf "formats/%s.yaml" $id | quote }}}
      {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A change of what only a restart changes makes other pods; the rest is reloaded in them. */}}
{{- define "sidecar.podAnnotations" -}}
checksum/restart: {{ pick (include "sidecar.parsedConfig" . | fromJson) "reuse_port" "tls" | toJson | sha256sum }}
{{- end -}}

{{- define "sidecar.containerBody" -}}
{{- $address := .Values.listen.address | default (ternary "0.0.0.0" "127.0.0.1" (eq .Values.mode "gateway")) -}}
image: {{ include "sidecar.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/sidecar/sidecar.yaml, --listen, "{{ $address }}:{{ .Values.listen.port }}", --admin, "{{ .Values.admin.address }}:{{ .Values.admin.port }}"]
ports:
  - {name: sidecar-http, containerPort: {{ .Values.listen.port }}}
  - {name: sidecar-admin, containerPort: {{ .Values.admin.port }}}
{{ include "sidecar.environment" . }}
{{ include "sidecar.mounts" . }}
startupProbe:
  httpGet: {path: /healthz, port: {{ .Values.admin.port }}}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ .Values.admin.port }}}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: {{ .Values.admin.port }}}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{- define "sidecar.environment" -}}
env:
  - {name: UPSTREAM_BASE_URL, value: {{ .Values.upstream.baseUrl | quote }}}
  {{- with .Values.upstream.apiKeySecret }}
  {{- if .name }}
  - {name: UPSTREAM_API_KEY, valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}}
  {{- end }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A directory: a file that is mounted by subPath never changes. */}}
{{- define "sidecar.mounts" -}}
volumeMounts:
  - {name: sidecar-config, mountPath: /etc/sidecar, readOnly: true}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
