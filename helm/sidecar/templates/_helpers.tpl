{{/* Names and labels. All take the chart's own context. */}}

{{- define "sidecar.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sidecar.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sidecar.labels" -}}
{{ include "sidecar.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "sidecar.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* `config` as YAML; what is not even that is refused here, the rest by `sidecar check` in the pod. */}}
{{- define "sidecar.parsedConfig" -}}
{{- $config := fromYaml .Values.config -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "config: is not YAML: %s" $config.Error) -}}
{{- end -}}
{{- if eq (int .Values.listen.port) (int .Values.admin.port) -}}
{{- fail (printf "listen.port and admin.port are both %v" .Values.admin.port) -}}
{{- end -}}
{{- if and .Values.formats (not $config.formats) -}}
{{- fail "formats: config does not name them: add `formats: formats` to it" -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{- define "sidecar.scheme" -}}
{{- if (include "sidecar.parsedConfig" . | fromJson).tls }}https{{ else }}http{{ end -}}
{{- end -}}

{{/* A duration of `config` in whole seconds, rounded up. Takes {value, what}. */}}
{{- define "sidecar.seconds" -}}
{{- $text := toString .value -}}
{{- if eq $text "0" -}}
0
{{- else if regexMatch "^[0-9]+([.][0-9]+)?(ms|s|m|h)$" $text -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexFind "(ms|s|m|h)$" $text -}}
{{- ceil (divf (mulf $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) 1000) | int -}}
{{- else -}}
{{- fail (printf "config: drain.%s: found '%s', expected a duration such as 5s or 2m; or set terminationGracePeriodSeconds" .what $text) -}}
{{- end -}}
{{- end -}}

{{/* Longer than the sidecar takes to drain: the program's own defaults where `config` says nothing. */}}
{{- define "sidecar.terminationGracePeriodSeconds" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- .Values.terminationGracePeriodSeconds | int -}}
{{- else -}}
{{- $drain := default dict (include "sidecar.parsedConfig" . | fromJson).drain -}}
{{- $delay := include "sidecar.seconds" (dict "what" "delay" "value" (ternary $drain.delay "5s" (hasKey $drain "delay"))) -}}
{{- $timeout := include "sidecar.seconds" (dict "what" "timeout" "value" (ternary $drain.timeout "300s" (hasKey $drain "timeout"))) -}}
{{- add $delay $timeout 10 -}}
{{- end -}}
{{- end -}}
