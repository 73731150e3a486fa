{{- /*
What is asked of a cluster that is seen, before anything is made in it: Secrets of others, with their keys, and kinds of others.
*/ -}}

{{- /* Fails with all that is missing. Takes the root, with its `secrets`. */ -}}
{{- define "quicprochat.asked" -}}
{{- if and .Values.preflight (lookup "v1" "Namespace" "" "kube-system") -}}
  {{- $namespace := .Release.Namespace -}}
  {{- $missing := list -}}
  {{- $brought := include "quicprochat.brought" . | fromJson -}}
  {{- range $name := keys $brought | sortAlpha -}}
    {{- $found := lookup "v1" "Secret" $namespace $name -}}
    {{- $lacking := list -}}
    {{- range $key := index $brought $name | uniq -}}
      {{- if not (hasKey ($found.data | default dict) $key) -}}{{- $lacking = append $lacking $key -}}{{- end -}}
    {{- end -}}
    {{- with $lacking -}}{{- $missing = append $missing (printf "%s (%s)" $name (join ", " .)) -}}{{- end -}}
  {{- end -}}
  {{- if $missing -}}
    {{- fail (printf "namespace %s lacks Secrets, or keys in them: %s. The chart's README says what each holds; with preflight=false pods wait until they are there" $namespace (join ", " $missing)) -}}
  {{- end -}}
  {{- $monitoring := .Values.monitoring -}}
  {{- range $kind := list
    (list "postgresql.cnpg.io/v1" (eq (include "quicprochat.postgres" .) "cnpg") "install CloudNativePG, or set postgres.mode to another")
    (list "cert-manager.io/v1" .Values.tls.certManager.enabled "install cert-manager, or set tls.certManager.enabled=false")
    (list "monitoring.coreos.com/v1" (or $monitoring.serviceMonitor.enabled $monitoring.rules.enabled) "install the Prometheus operator, or set monitoring.serviceMonitor.enabled and monitoring.rules.enabled to false")
    (list (printf "%s/UDPRoute" .Values.gateway.route.apiVersion) (eq .Values.gateway.expose "route") "install the Gateway API with its UDPRoute, set gateway.route.apiVersion to the one that is there, or gateway.expose=service")
  -}}
    {{- if and (index $kind 1) (not ($.Capabilities.APIVersions.Has (first $kind))) -}}
      {{- fail (printf "the cluster does not know %s: %s" (first $kind) (last $kind)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- /* Secrets that others bring: a JSON map, name -> keys. Takes the root, with its `secrets`. */ -}}
{{- define "quicprochat.brought" -}}
{{- $root := . -}}
{{- $values := .Values -}}
{{- $brought := dict -}}
{{- $wanted := include "quicprochat.wanted" . | fromJson -}}
{{- range $secret, $keys := $wanted -}}
  {{- $name := include "quicprochat.secretName" (list $root $secret) -}}
  {{- $certificate := and $values.tls.certManager.enabled (or (hasPrefix "tls-" $secret) (eq $secret "admin-client")) -}}
  {{- if or (index $values.secrets.existing $secret) (not (or $certificate (dig $secret "own" false $root.secrets))) -}}
    {{- $_ := set $brought $name (concat (index $brought $name | default list) $keys) -}}
  {{- end -}}
{{- end -}}
{{- $external := dict -}}
{{- if eq (include "quicprochat.postgres" .) "external" -}}{{- $_ := set $external "postgres" $values.postgres.external.caSecret -}}{{- end -}}
{{- if eq (include "quicprochat.redis" .) "external" -}}{{- $_ := set $external "redis" $values.redis.external.caSecret -}}{{- end -}}
{{- if eq $values.nats.mode "external" -}}{{- $_ := set $external "nats" $values.nats.external.caSecret -}}{{- end -}}
{{- if $values.tracing.endpoint -}}{{- $_ := set $external "tracing" $values.tracing.caSecret -}}{{- end -}}
{{- range $name := values $external -}}
  {{- if $name -}}{{- $_ := set $brought $name (append (index $brought $name | default list) "ca.crt") -}}{{- end -}}
{{- end -}}
{{- with $values.gateway.tls.secretName -}}{{- $_ := set $brought . (concat (index $brought . | default list) (list "tls.crt" "tls.key")) -}}{{- end -}}
{{- if eq $values.blob.store "s3" -}}{{- $_ := set $brought $values.blob.s3.secretName (list "key-id" "secret") -}}{{- end -}}
{{- $brought | toJson -}}
{{- end -}}

{{- /* Secrets of an installation, whoever makes them: a JSON map, name without prefix -> keys. Takes the root. */ -}}
{{- define "quicprochat.wanted" -}}
{{- $wanted := dict "secret" (list "secret") "cache" (list "url") -}}
{{- if not .Values.operator.realm.create -}}{{- $_ := set $wanted "edge-keys" (list "keys") -}}{{- end -}}
{{- range splitList "," (include "quicprochat.components" .) -}}{{- $_ := set $wanted (printf "bus-%s" .) (list "nkey") -}}{{- end -}}
{{- $postgres := include "quicprochat.postgres" . -}}
{{- range list "auth" "keypackage" "delivery" "blob" -}}
  {{- $_ := set $wanted (printf "db-%s" .) (ternary (list "url") (list "url" "username" "password") (eq $postgres "external")) -}}
{{- end -}}
{{- if eq $postgres "included" -}}{{- $_ := set $wanted "postgres" (list "password") -}}{{- end -}}
{{- if eq (include "quicprochat.redis" .) "included" -}}{{- $_ := set $wanted "cache" (list "url" "auth.conf") -}}{{- end -}}
{{- range keys (include "quicprochat.certificateNames" . | fromJson) -}}
  {{- $_ := set $wanted (printf "tls-%s" .) (list "tls.crt" "tls.key" "ca.crt") -}}
{{- end -}}
{{- if .Values.admin.enabled -}}{{- $_ := set $wanted "admin-client" (list "tls.crt" "tls.key" "ca.crt") -}}{{- end -}}
{{- $wanted | toJson -}}
{{- end -}}
