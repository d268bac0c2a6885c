{{- define "anysound.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Call with (list $ "component"). Selectors are immutable; labels may change. */}}
{{- define "anysound.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: anysound
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "anysound.labels" -}}
{{- $root := index . 0 -}}
{{ include "anysound.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "anysound.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{- define "anysound.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Releases of the CPU image are tagged with the bare version; other tags and digests say nothing. */}}
{{- define "anysound.isCpuImage" -}}
{{- if and (not .Values.image.digest) (regexMatch "^[0-9]+\\.[0-9]+\\.[0-9]+$" (include "anysound.tag" .)) }}true{{ end }}
{{- end }}

{{- define "anysound.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ include "anysound.tag" $ }}{{ end }}
{{- end }}
{{- end }}

{{/* Numbers of values.yaml are floats: without this, 67108864 would be rendered as 6.7108864e+07. Lists become JSON. */}}
{{- define "anysound.scalar" -}}
{{- if kindIs "slice" . }}{{ toJson . }}{{ else if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end }}
{{- end }}
