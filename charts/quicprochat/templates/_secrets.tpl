{{- /*
Secrets that the chart makes at its first installation and keeps from then on. They are made once for a rendering, whichever
file asks first, and stand in `$.secrets`: name without prefix -> {own, keep, type, data}. A Secret that somebody else has made
under the name is used as it is, and none of it is written.
*/ -}}

{{- /* Fills `$.secrets`. Takes the root. */ -}}
{{- define "quicprochat.secrets" -}}
{{- if not (hasKey . "secrets") -}}
  {{- $_ := set . "secrets" dict -}}
  {{- include "quicprochat.checks" . -}}
  {{- if ne .Values.secrets.generate "never" -}}
    {{- if and (eq .Values.secrets.generate "auto") (not (lookup "v1" "Namespace" "" "kube-system")) -}}
      {{- fail "no cluster is to be seen, as with `helm template` or Argo CD, so every rendering would make new secrets and lock everybody out. Make the Secrets that the chart's README lists and set secrets.generate=never; or, for a rendering that is thrown away, secrets.generate=always" -}}
    {{- end -}}
    {{- include "quicprochat.makeServerSecrets" . -}}
    {{- include "quicprochat.makeBusSecrets" . -}}
    {{- include "quicprochat.makeStoreSecrets" . -}}
    {{- if not .Values.tls.certManager.enabled -}}
      {{- include "quicprochat.makeCertificates" . -}}
    {{- end -}}
  {{- end -}}
  {{- include "quicprochat.asked" . -}}
{{- end -}}
{{- end -}}

{{- define "quicprochat.makeServerSecrets" -}}
{{- /* 256 random bits in hexadecimal digits: 64 letters and digits have 380. */ -}}
{{- include "quicprochat.secret" (dict "root" . "name" "secret" "keep" true "kind" "hex" "field" "secret") -}}
{{- if not .Values.operator.realm.create -}}
  {{- include "quicprochat.secret" (dict "root" . "name" "edge-keys" "keep" true "kind" "hex" "field" "keys") -}}
{{- end -}}
{{- end -}}

{{- define "quicprochat.makeBusSecrets" -}}
{{- $root := . -}}
{{- if eq .Values.nats.mode "included" -}}
  {{- range splitList "," (include "quicprochat.components" .) -}}
    {{- include "quicprochat.secret" (dict "root" $root "name" (printf "bus-%s" .) "kind" "nkey") -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "quicprochat.makeStoreSecrets" -}}
{{- $root := . -}}
{{- if ne (include "quicprochat.postgres" .) "external" -}}
  {{- range list "auth" "keypackage" "delivery" "blob" -}}
    {{- include "quicprochat.secret" (dict "root" $root "name" (printf "db-%s" .) "keep" true "kind" "password" "type" "kubernetes.io/basic-auth" "username" (printf "qpc_%s" .)) -}}
  {{- end -}}
{{- end -}}
{{- if eq (include "quicprochat.postgres" .) "included" -}}
  {{- include "quicprochat.secret" (dict "root" . "name" "postgres" "keep" true "kind" "password") -}}
{{- end -}}
{{- if eq (include "quicprochat.redis" .) "included" -}}
  {{- include "quicprochat.secret" (dict "root" . "name" "cache" "kind" "password") -}}
{{- end -}}
{{- end -}}

{{- /*
One Secret: what is there, else something new; nothing where the values name another.
Takes root, name, kind (hex, password, nkey, authority, leaf), and what the kind needs.
*/ -}}
{{- define "quicprochat.secret" -}}
{{- $root := .root -}}
{{- if not (index $root.Values.secrets.existing .name) -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (printf "%s-%s" (include "quicprochat.fullname" $root) .name) -}}
{{- $own := true -}}
{{- $data := dict -}}
{{- $annotations := dict -}}
{{- if $found -}}
  {{- $annotations = dig "metadata" "annotations" dict $found -}}
  {{- $own = eq (index $annotations "meta.helm.sh/release-name" | default "") $root.Release.Name -}}
  {{- range $key, $value := $found.data -}}{{- $_ := set $data $key (b64dec $value) -}}{{- end -}}
{{- end -}}
{{- $renew := index $annotations "quicprochat.org/renew-after" | default "" -}}
{{- $due := and $own $renew (gt (now | unixEpoch | int64) ($renew | int64)) -}}
{{- if or (not $data) $due -}}
  {{- if eq .kind "hex" -}}
    {{- $data = dict .field (randAlphaNum 64 | sha256sum) -}}
  {{- else if eq .kind "password" -}}
    {{- $data = dict "password" (randAlphaNum 40) -}}
  {{- else if eq .kind "nkey" -}}
    {{- $data = include "quicprochat.nkey" $root | fromJson -}}
  {{- else -}}
    {{- $data = include "quicprochat.certificate" . | fromJson -}}
    {{- $renew = now | unixEpoch | int64 | add (mul .renewDays 86400) | toString -}}
  {{- end -}}
{{- end -}}
{{- if $own -}}{{- include "quicprochat.derived" (dict "root" $root "name" .name "username" .username "data" $data) -}}{{- end -}}
{{- $secret := dict "own" $own "keep" (.keep | default false) "type" (.type | default "Opaque") "renew" $renew "data" $data -}}
{{- $_ := set $root.secrets .name $secret -}}
{{- end -}}
{{- end -}}

{{- /* Adds what follows from a password and where its server is. */ -}}
{{- define "quicprochat.derived" -}}
{{- $name := include "quicprochat.fullname" .root -}}
{{- if .username -}}
  {{- $host := ternary (printf "%s-db-rw" $name) (printf "%s-postgres" $name) (eq (include "quicprochat.postgres" .root) "cnpg") -}}
  {{- $_ := set .data "username" .username -}}
  {{- $_ := set .data "url" (printf "postgres://%s:%s@%s:5432/qpc?sslmode=verify-full&sslrootcert=/etc/quicprochat/db-ca.crt" .username .data.password $host) -}}
{{- else if eq .name "cache" -}}
  {{- $_ := set .data "auth.conf" (printf "requirepass %s\n" .data.password) -}}
  {{- $_ := set .data "url" (printf "rediss://:%s@%s-cache:6379/0" .data.password $name) -}}
{{- end -}}
{{- end -}}

{{- /* Public key of a component on the bus. Takes root and component. */ -}}
{{- define "quicprochat.busKey" -}}
{{- include "quicprochat.secrets" .root -}}
{{- $made := index .root.secrets (printf "bus-%s" .component) | default dict -}}
{{- $key := index .root.Values.nats.publicKeys .component | default (dig "data" "public" "" $made) -}}
{{- if not $key -}}
  {{- fail (printf "nats.publicKeys.%s is empty: without Secrets that the chart makes, the bus has to be told the public key (U...) of the seed in %s" .component (include "quicprochat.secretName" (list .root (printf "bus-%s" .component)))) -}}
{{- end -}}
{{- $key -}}
{{- end -}}

{{- /* A hash of what is in Secrets of the chart's own, so that pods start anew when it changes. Takes root and names. */ -}}
{{- define "quicprochat.secretsHash" -}}
{{- $root := .root -}}
{{- include "quicprochat.secrets" $root -}}
{{- $all := list -}}
{{- range .names -}}
  {{- with index $root.secrets . -}}{{- $all = append $all .data -}}{{- end -}}
{{- end -}}
{{- if $all }}{{ $all | toJson | sha256sum }}{{ end -}}
{{- end -}}
