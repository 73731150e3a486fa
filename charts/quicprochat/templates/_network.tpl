{{- /* Who may talk to whom: a JSON list of {from, to, port, protocol}. Everything that is not here is refused. */ -}}
{{- define "quicprochat.edges" -}}
{{- $root := . -}}
{{- $edges := list (dict "from" "gateway" "to" "gateway" "port" 7002 "protocol" "UDP") (dict "from" "gateway" "to" "blob" "port" 7003) -}}
{{- $components := splitList "," (include "quicprochat.components" .) -}}
{{- if eq .Values.nats.mode "included" -}}
  {{- range $components -}}{{- $edges = append $edges (dict "from" . "to" "nats" "port" 4222) -}}{{- end -}}
  {{- $edges = append $edges (dict "from" "nats" "to" "nats" "port" 6222) -}}
{{- end -}}
{{- if eq (include "quicprochat.redis" .) "included" -}}
  {{- range $components -}}{{- $edges = append $edges (dict "from" . "to" "cache" "port" 6379) -}}{{- end -}}
{{- end -}}
{{- if ne (include "quicprochat.postgres" .) "external" -}}
  {{- range list "auth" "keypackage" "delivery" "blob" "migrate" -}}{{- $edges = append $edges (dict "from" . "to" "postgres" "port" 5432) -}}{{- end -}}
{{- end -}}
{{- if .Values.operator.enabled -}}{{- $edges = append $edges (dict "from" "operator" "to" "gateway" "port" 9464) -}}{{- end -}}
{{- $edges | toJson -}}
{{- end -}}

{{- /* What leaves the installation: a JSON map, component -> list of {to, port}. */ -}}
{{- define "quicprochat.exits" -}}
{{- $exits := dict -}}
{{- $components := splitList "," (include "quicprochat.components" .) -}}
{{- $policy := .Values.networkPolicy -}}
{{- range $component := concat $components (list "migrate" "operator") -}}{{- $_ := set $exits $component list -}}{{- end -}}
{{- if eq .Values.nats.mode "external" -}}
  {{- range $components -}}{{- $_ := set $exits . (append (index $exits .) $policy.nats) -}}{{- end -}}
{{- end -}}
{{- if eq (include "quicprochat.redis" .) "external" -}}
  {{- range $components -}}{{- $_ := set $exits . (append (index $exits .) $policy.redis) -}}{{- end -}}
{{- end -}}
{{- if eq (include "quicprochat.postgres" .) "external" -}}
  {{- range list "auth" "keypackage" "delivery" "blob" "migrate" -}}{{- $_ := set $exits . (append (index $exits .) $policy.postgres) -}}{{- end -}}
{{- end -}}
{{- if .Values.tracing.endpoint -}}
  {{- range $components -}}{{- $_ := set $exits . (append (index $exits .) $policy.tracing) -}}{{- end -}}
{{- end -}}
{{- if eq .Values.blob.store "s3" -}}{{- $_ := set $exits "blob" (append $exits.blob $policy.s3) -}}{{- end -}}
{{- if $policy.wakeUps.enabled -}}{{- $_ := set $exits "delivery" (append $exits.delivery (omit $policy.wakeUps "enabled")) -}}{{- end -}}
{{- $_ := set $exits "operator" (list $policy.apiServer) -}}
{{- $exits | toJson -}}
{{- end -}}

{{- /* Stores of the chart's own that ask for no name. A way to name servers is a way out. */ -}}
{{- define "quicprochat.nameless" -}}
{{- if or (eq .component "cache") (and (eq .component "postgres") (eq (include "quicprochat.postgres" .root) "included")) }}true{{ end -}}
{{- end -}}

{{- /* Pods of a component. Takes root and component. */ -}}
{{- define "quicprochat.podsOf" -}}
{{- if and (eq .component "postgres") (eq (include "quicprochat.postgres" .root) "cnpg") -}}
cnpg.io/cluster: {{ include "quicprochat.fullname" .root }}-db
{{- else -}}
{{ include "quicprochat.selector" . }}
{{- end -}}
{{- end -}}
