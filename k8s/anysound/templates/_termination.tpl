{{/*
SIGTERM is sent `preStop` seconds after the pod is removed from its endpoints. The service is then not ready for
`drain` seconds, and requests accepted until the end of these may take the request timeout. ANYSOUND_DRAIN_S is the sum.
*/}}
{{- define "anysound.drain" -}}
{{- add (int .Values.termination.drainSeconds) (ceil .Values.settings.request_timeout_s | int) }}
{{- end }}

{{- define "anysound.gracePeriodNeeded" -}}
{{- add (int .Values.termination.preStopSeconds) (include "anysound.drain" . | int) (int .Values.termination.marginSeconds) }}
{{- end }}

{{- define "anysound.gracePeriod" -}}
{{- .Values.termination.gracePeriodSeconds | int | default (include "anysound.gracePeriodNeeded" . | int) }}
{{- end }}
