{{/*
SIGTERM comes `preStop` after the pod left its endpoints. The service then says "not ready" for `drain`, and what it
accepted until then may take a whole request timeout: the service's own drain time is both.
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
