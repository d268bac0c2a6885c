{{/* Pod Security Standard "restricted", for every pod of the release. */}}
{{- define "anysound.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "anysound.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "anysound.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "anysound.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Placement of pods that load a model; Redis and the load test may run on any node. Call with (list $ gpus). */}}
{{- define "anysound.placement" -}}
{{- $root := index . 0 -}}
{{- $tolerations := $root.Values.tolerations -}}
{{- if gt (int (index . 1)) 0 -}}
{{- $tolerations = prepend $tolerations (dict "key" $root.Values.gpu.resource "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- $placement := dict -}}
{{- with $tolerations }}{{ $_ := set $placement "tolerations" . }}{{ end -}}
{{- with $root.Values.nodeSelector }}{{ $_ := set $placement "nodeSelector" . }}{{ end -}}
{{- with $root.Values.affinity }}{{ $_ := set $placement "affinity" . }}{{ end -}}
{{- with $root.Values.runtimeClassName }}{{ $_ := set $placement "runtimeClassName" . }}{{ end -}}
{{- with $placement }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Call with (list $ resources gpus). GPUs are set as limits; requests default to the same. */}}
{{- define "anysound.resources" -}}
{{- $root := index . 0 -}}
{{- $resources := deepCopy (index . 1) -}}
{{- if gt (int (index . 2)) 0 -}}
{{- $_ := set $resources "limits" (merge (dict $root.Values.gpu.resource (toString (int (index . 2)))) $resources.limits) -}}
{{- end -}}
{{- toYaml $resources }}
{{- end }}

{{/* A quantity of CPU in whole cores, at least 1: "2", "1.5" or "500m". */}}
{{- define "anysound.cores" -}}
{{- $cpu := toString . -}}
{{- if hasSuffix "m" $cpu }}{{ divf (trimSuffix "m" $cpu) 1000 | ceil | max 1 }}{{ else }}{{ ceil $cpu | max 1 }}{{ end }}
{{- end }}

{{/* The root file system is read-only, so caches go to /tmp. */}}
{{- define "anysound.writableCaches" -}}
- {name: HOME, value: /tmp}
- {name: XDG_CACHE_HOME, value: /tmp/cache}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /tmp/cache/inductor}
- {name: TRITON_CACHE_DIR, value: /tmp/cache/triton}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- end }}
