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
{{- if and $values.gateway.service.nodePort (or (eq $values.gateway.expose "route") (eq $values.gateway.service.type "ClusterIP")) -}}
  {{- fail "gateway.service.nodePort needs gateway.service.type NodePort or LoadBalancer, and gateway.expose service" -}}
{{- end -}}
{{- range $component := splitList "," (include "quicprochat.components" .) -}}
  {{- if include "quicprochat.autoscaled" (dict "root" $ "component" $component) -}}
    {{- $scaling := (index $values $component).autoscaling -}}
    {{- if not (kindIs "invalid" (index $values $component).replicas) -}}
      {{- fail (printf "%s.replicas is of no effect beside an autoscaler: set %s.autoscaling.enabled=false, or %s.autoscaling.minReplicas instead" $component $component $component) -}}
    {{- end -}}
    {{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
      {{- fail (printf "%s.autoscaling.minReplicas is greater than %s.autoscaling.maxReplicas" $component $component) -}}
    {{- end -}}
    {{- if not (or $scaling.connections $scaling.handshakesPerSecond $scaling.oldestUndeliveredSeconds $scaling.cpuPercent) -}}
      {{- fail (printf "%s.autoscaling looks at nothing: set a target other than 0, or %s.autoscaling.enabled=false" $component $component) -}}
    {{- end -}}
  {{- end -}}
  {{- $volumes := list "files" "blobs" -}}
  {{- range (index $values $component).extraVolumes -}}{{- $volumes = append $volumes .name -}}{{- end -}}
  {{- range (index $values $component).extraVolumeMounts -}}
    {{- if not (has .name $volumes) -}}
      {{- fail (printf "%s.extraVolumeMounts mounts %s, which %s.extraVolumes does not have" $component .name $component) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $wanted := include "quicprochat.wanted" . | fromJson -}}
{{- range $secret, $name := $values.secrets.existing -}}
  {{- if not (hasKey $wanted $secret) -}}
    {{- fail (printf "secrets.existing.%s names %s, but nothing of this installation reads such a Secret" $secret $name) -}}
  {{- end -}}
{{- end -}}
{{- if and $values.tls.certManager.issuer.name (not $values.tls.certManager.enabled) -}}
  {{- fail "tls.certManager.issuer.name needs tls.certManager.enabled=true" -}}
{{- end -}}
{{- if eq $values.domain "" -}}
  {{- fail "domain is empty: it is the name under which clients reach the gateways, and stands in their certificate. Set domain, for example --set domain=chat.example.org" -}}
{{- end -}}
{{- end -}}
