{{- /*
Certificates between the parts. Two authorities: one for servers and pipes, one for admins, so that no key of a process opens
the admin API. Either cert-manager keeps them, or the chart makes them; then every `helm upgrade` renews what is older than a
year, long before it ends.
*/ -}}

{{- /* Servers: JSON, component -> names in its certificate. Takes the root. */ -}}
{{- define "quicprochat.certificateNames" -}}
{{- $name := include "quicprochat.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $servers := dict "gateway" (list "qpc-gateway") "blob" (list "qpc-blob") -}}
{{- if .Values.admin.enabled -}}
  {{- $_ := set $servers "admin" (list "qpc-admin" "localhost" (printf "%s-admin" $name) (printf "%s-admin.%s.svc" $name $namespace)) -}}
{{- end -}}
{{- if eq .Values.nats.mode "included" -}}
  {{- $_ := set $servers "nats" (list (printf "%s-nats" $name) (printf "%s-nats.%s.svc" $name $namespace) (printf "*.%s-nats-peers" $name) (printf "*.%s-nats-peers.%s.svc" $name $namespace)) -}}
{{- end -}}
{{- if eq (include "quicprochat.postgres" .) "included" -}}
  {{- $_ := set $servers "postgres" (list (printf "%s-postgres" $name) (printf "%s-postgres.%s.svc" $name $namespace)) -}}
{{- end -}}
{{- if eq (include "quicprochat.redis" .) "included" -}}
  {{- $_ := set $servers "cache" (list (printf "%s-cache" $name) (printf "%s-cache.%s.svc" $name $namespace)) -}}
{{- end -}}
{{- if eq (include "quicprochat.publicTls" .) "chart" -}}
  {{- $_ := set $servers "public" (list .Values.domain) -}}
{{- end -}}
{{- $servers | toJson -}}
{{- end -}}

{{- /* Where the certificate that clients see comes from: secret, issuer (cert-manager), chart. */ -}}
{{- define "quicprochat.publicTls" -}}
{{- if .Values.gateway.tls.secretName }}secret
{{- else if and .Values.tls.certManager.enabled .Values.tls.certManager.issuer.name }}issuer
{{- else }}chart{{ end -}}
{{- end -}}

{{- define "quicprochat.makeCertificates" -}}
{{- $root := . -}}
{{- include "quicprochat.secret" (dict "root" . "name" "ca" "keep" true "type" "kubernetes.io/tls" "kind" "authority" "cn" "quicprochat servers" "renewDays" 3000) -}}
{{- $names := include "quicprochat.certificateNames" . | fromJson -}}
{{- range $component := keys $names | sortAlpha -}}
  {{- include "quicprochat.secret" (dict "root" $root "name" (printf "tls-%s" $component) "type" "kubernetes.io/tls" "kind" "leaf" "authority" "ca" "names" (index $names $component) "renewDays" 365) -}}
{{- end -}}
{{- if .Values.admin.enabled -}}
  {{- include "quicprochat.secret" (dict "root" . "name" "admin-ca" "keep" true "type" "kubernetes.io/tls" "kind" "authority" "cn" "quicprochat admins" "renewDays" 3000) -}}
  {{- include "quicprochat.secret" (dict "root" . "name" "admin-client" "type" "kubernetes.io/tls" "kind" "leaf" "authority" "admin-ca" "names" (list "admin") "renewDays" 365) -}}
{{- end -}}
{{- end -}}

{{- /* JSON of a new certificate: of an authority (cn), or of a server (authority, names). */ -}}
{{- define "quicprochat.certificate" -}}
{{- $key := genPrivateKey "ecdsa" -}}
{{- if eq .kind "authority" -}}
  {{- $made := genCAWithKey .cn 3650 $key -}}
  {{- dict "tls.crt" $made.Cert "tls.key" $made.Key "ca.crt" $made.Cert | toJson -}}
{{- else -}}
  {{- $authority := (index .root.secrets .authority).data -}}
  {{- $ca := buildCustomCert (index $authority "tls.crt" | b64enc) (index $authority "tls.key" | b64enc) -}}
  {{- $addresses := ternary (list "127.0.0.1" "::1") (list) (has "localhost" .names) -}}
  {{- $made := genSignedCertWithKey (first .names) $addresses .names 1825 $ca $key -}}
  {{- dict "tls.crt" $made.Cert "tls.key" $made.Key "ca.crt" (index $authority "tls.crt") | toJson -}}
{{- end -}}
{{- end -}}
