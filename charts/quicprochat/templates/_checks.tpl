{{- /* Combinations that no schema can refuse, each with what to set. */ -}}
{{- define "quicprochat.checks" -}}
{{- $values := .Values -}}
{{- $ha := eq $values.profile "ha" -}}
{{- $postgres := include "quicprochat.postgres" . -}}
{{- $cnpg := $values.postgres.cnpg -}}
{{- if and $ha (eq $postgres "included") -}}
  {{- fail "profile ha does not run on the included Postgres, of which there is one. Set postgres.mode to cnpg (CloudNativePG runs it) or external" -}}
{{- end -}}
{{- if and $ha (eq $postgres "external") (not $values.postgres.external.synchronousReplication) -}}
  {{- fail "profile ha wants a Postgres that loses nothing: an accepted message must survive the loss of the primary. When synchronous_standby_names of yours has at least one standby, say so by postgres.external.synchronousReplication=true; or set postgres.mode=cnpg" -}}
{{- end -}}
{{- if and (eq $postgres "cnpg") (le (int $cnpg.instances) (int $cnpg.synchronousReplicas)) -}}
  {{- fail "postgres.cnpg.instances must be greater than postgres.cnpg.synchronousReplicas, or nothing could be written" -}}
{{- end -}}
{{- if and (include "quicprochat.blobAlone" .) (or $ha (gt (int (include "quicprochat.replicas" (dict "root" . "component" "blob"))) 1)) -}}
  {{- if $ha -}}
    {{- fail "profile ha needs bodies of files where every replica of blob reaches them. Set blob.store=s3, or blob.disk.accessMode=ReadWriteMany with a storage class that can do it" -}}
  {{- end -}}
  {{- fail "several replicas of blob need a volume that all of them can mount. Set blob.disk.accessMode=ReadWriteMany, blob.store=s3, or blob.replicas=1" -}}
{{- end -}}
{{- if and (eq $values.blob.store "s3") (not (and $values.blob.s3.bucket $values.blob.s3.secretName)) -}}
  {{- fail "blob.store s3 needs blob.s3.bucket and blob.s3.secretName (a Secret with key-id and secret)" -}}
{{- end -}}
{{- if and (eq $values.nats.mode "external") (not $values.nats.external.url) -}}
  {{- fail "nats.mode external needs nats.external.url, for example tls://nats.example:4222" -}}
{{- end -}}
{{- if and $ha (eq $values.nats.mode "included") $values.nats.replicas (lt (int $values.nats.replicas) 3) -}}
  {{- fail "profile ha needs three servers of NATS: set nats.replicas to 3, or leave it out" -}}
{{- end -}}
{{- if and (eq $values.gateway.expose "route") (not $values.gateway.route.parentRefs) -}}
  {{- fail "gateway.expose route needs gateway.route.parentRefs: the Gateway with a UDP listener" -}}
{{- end -}}
{{- if and (hasPrefix "https://" $values.tracing.endpoint) (not $values.tracing.caSecret) -}}
  {{- fail "tracing.endpoint is https, so tracing.caSecret has to name a Secret with the authority of its certificate (ca.crt)" -}}
{{- end -}}
{{- if and $values.operator.enabled (ne (include "quicprochat.fullname" .) .Release.Name) -}}
  {{- fail (printf "operator.enabled needs names that begin with the release, %s: leave fullnameOverride empty, and take a release name of at most 40 characters" .Release.Name) -}}
{{- end -}}
{{- if and $values.operator.realm.create (not $values.operator.enabled) -}}
  {{- fail "operator.realm.create needs operator.enabled=true: nobody else works on a Realm" -}}
{{- end -}}
{{- if eq $values.domain "" -}}
  {{- fail "domain is empty: it is the name under which clients reach the gateways, and stands in their certificate. Set domain, for example --set domain=chat.example.org" -}}
{{- end -}}
{{- end -}}
