{{- define "anysound.redisUrl" -}}
{{- if eq .Values.redis.mode "internal" -}}
{{ if .Values.redis.tlsSecret }}rediss{{ else }}redis{{ end }}://{{ .Values.redis.user }}@{{ include "anysound.name" . }}-redis:6379/0
{{- else -}}
{{ .Values.redis.url }}
{{- end }}
{{- end }}

{{- define "anysound.redisPort" -}}
{{- $authority := .Values.redis.url | trimPrefix "redis://" | trimPrefix "rediss://" | splitList "/" | first -}}
{{- regexFind ":[0-9]+$" $authority | trimPrefix ":" | default "6379" }}
{{- end }}
