{{- /*
What every pod has: pod security `restricted`, names, and where it may run. Takes root and component; `own`, the values of the
workload, which win over those of the chart; the user, unless it is that of our images; `token`, to talk to the API server;
`links`, to know Services by variables.
*/ -}}
{{- define "quicprochat.podBasics" -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: {{ .links | default false }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 65532 }}
  runAsGroup: {{ .user | default 65532 }}
  fsGroup: {{ .user | default 65532 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .root.Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .root.Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .root.Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $own := .own | default dict }}
{{- with $own.priorityClassName | default .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector | default .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations | default .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity | default .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
Labels and annotations of a pod. Takes root, component, own; `made`, annotations of the chart; `observed`, for processes with
metrics.
*/ -}}
{{- define "quicprochat.podMetadata" -}}
{{- $own := .own | default dict -}}
{{- $labels := merge (dict) ($own.podLabels | default dict) .root.Values.podLabels -}}
{{- if .observed }}{{ $_ := set $labels "quicprochat.org/observed" "true" }}{{ end -}}
{{- $annotations := merge (dict) (.made | default dict) ($own.podAnnotations | default dict) .root.Values.podAnnotations -}}
labels:
  {{- include "quicprochat.labels" (dict "root" .root "component" .component "more" $labels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Spreads the pods of a component over nodes and zones. */ -}}
{{- define "quicprochat.spread" -}}
topologySpreadConstraints:
{{- $selector := include "quicprochat.selector" . }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.spread }}
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
    {{- if $.versioned }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
{{- end }}
{{- end -}}

{{- define "quicprochat.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "quicprochat.pullPolicy" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- /* Environment by which a process of ours finds the others. Takes root and component. */ -}}
{{- define "quicprochat.environment" -}}
{{- $values := .root.Values -}}
{{- $name := include "quicprochat.fullname" .root -}}
- {name: QPC_BUS, value: {{ ternary (printf "tls://%s-nats:4222" $name) $values.nats.external.url (eq $values.nats.mode "included") | quote }}}
- {name: QPC_BUS_NKEY_FILE, value: /etc/quicprochat/bus.nk}
{{- if or (eq $values.nats.mode "included") $values.nats.external.caSecret }}
- {name: QPC_BUS_CA, value: /etc/quicprochat/bus-ca.crt}
{{- end }}
- {name: QPC_CACHE_FILE, value: /etc/quicprochat/cache.url}
{{- if or (eq (include "quicprochat.redis" .root) "included") $values.redis.external.caSecret }}
- {name: QPC_CACHE_CA, value: /etc/quicprochat/cache-ca.crt}
{{- end }}
- {name: QPC_SECRET_FILE, value: /etc/quicprochat/secret}
{{- if has .component (list "auth" "keypackage" "delivery" "blob") }}
- {name: QPC_DB_FILE, value: /etc/quicprochat/db.url}
- {name: QPC_MIGRATE, value: never}
{{- end }}
- {name: QPC_OBSERVE, value: "[::]:9464"}
- {name: QPC_LOG, value: {{ $values.log.filter | quote }}}
- {name: QPC_LOG_FORMAT, value: {{ $values.log.format }}}
- {name: QPC_DRAIN_SECONDS, value: {{ include "quicprochat.drainSeconds" . | quote }}}
{{- with $values.tracing.endpoint }}
- {name: QPC_OTLP, value: {{ . | quote }}}
- {name: QPC_TRACE_RATIO, value: {{ $values.tracing.ratio | quote }}}
{{- if $values.tracing.caSecret }}
- {name: QPC_OTLP_CA, value: /etc/quicprochat/otlp-ca.crt}
{{- end }}
{{- end }}
{{- include (printf "quicprochat.environment.%s" .component) .root }}
{{- range $variable, $value := (index $values .component).env }}
- {name: {{ $variable }}, value: {{ include "quicprochat.text" $value | quote }}}
{{- end }}
{{- end -}}

{{- define "quicprochat.podAddress" }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end -}}

{{- define "quicprochat.environment.gateway" }}
{{- include "quicprochat.podAddress" . }}
- {name: QPC_LISTEN, value: "[::]:7000"}
- {name: QPC_RELAY_LISTEN, value: "[::]:7002"}
- {name: QPC_EDGE_KEYS, value: /etc/quicprochat/edge.keys}
- {name: QPC_TLS_CERT, value: /etc/quicprochat/public.crt}
- {name: QPC_TLS_KEY, value: /etc/quicprochat/public.key}
- {name: QPC_PRODUCTION, value: "true"}
- {name: QPC_DOMAIN, value: {{ .Values.domain | quote }}}
- {name: QPC_DRAIN_GRACE_MS, value: {{ mul .Values.gateway.drainGraceSeconds 1000 | quote }}}
{{- include "quicprochat.bulkFiles" . }}
{{- end -}}

{{- define "quicprochat.bulkFiles" }}
- {name: QPC_BULK_CERT, value: /etc/quicprochat/bulk.crt}
- {name: QPC_BULK_KEY, value: /etc/quicprochat/bulk.key}
- {name: QPC_BULK_CA, value: /etc/quicprochat/bulk-ca.crt}
{{- end -}}

{{- define "quicprochat.environment.auth" }}{{ end -}}
{{- define "quicprochat.environment.keypackage" }}{{ end -}}
{{- define "quicprochat.environment.delivery" }}{{ end -}}

{{- define "quicprochat.environment.blob" }}
{{- include "quicprochat.podAddress" . }}
- {name: QPC_BULK_LISTEN, value: "[::]:7003"}
- {name: QPC_BULK_ANNOUNCE, value: {{ ternary "[$(POD_IP)]:7003" "$(POD_IP):7003" (eq .Values.ipFamily "IPv6") | quote }}}
{{- include "quicprochat.bulkFiles" . }}
{{- if eq .Values.blob.store "disk" }}
- {name: QPC_BLOB_STORE, value: "disk:/data/blobs"}
{{- else }}
{{- with .Values.blob.s3 }}
- {name: QPC_BLOB_STORE, value: {{ printf "s3://%s%s" .bucket (ternary (printf "/%s" .prefix) "" (ne .prefix "")) | quote }}}
{{- with .endpoint }}
- {name: QPC_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: QPC_S3_REGION, value: {{ .region | quote }}}
{{- if .virtualHost }}
- {name: QPC_S3_VIRTUAL_HOST, value: "true"}
{{- end }}
- name: QPC_S3_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: key-id}}
- name: QPC_S3_SECRET
  valueFrom: {secretKeyRef: {name: {{ .secretName }}, key: secret}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "quicprochat.environment.admin" }}
- {name: QPC_ADMIN_LISTEN, value: "[::]:7001"}
- {name: QPC_ADMIN_CERT, value: /etc/quicprochat/admin.crt}
- {name: QPC_ADMIN_KEY, value: /etc/quicprochat/admin.key}
- {name: QPC_ADMIN_CLIENT_CA, value: /etc/quicprochat/admins.crt}
- {name: QPC_PRODUCTION, value: "true"}
{{- end -}}

{{- /* Seconds that work in progress gets on SIGTERM: a gateway's clients leave first. */ -}}
{{- define "quicprochat.drainSeconds" -}}
{{- $seconds := .root.Values.drainSeconds | int -}}
{{- if eq .component "gateway" -}}
{{- max $seconds (add .root.Values.gateway.drainGraceSeconds 10) -}}
{{- else -}}{{ $seconds }}{{- end -}}
{{- end -}}

{{- /* Seconds until the kubelet kills: what comes before SIGTERM, all of the drain, and some to spare. */ -}}
{{- define "quicprochat.graceSeconds" -}}
{{- $grace := ternary .root.Values.gateway.drainGraceSeconds 0 (eq .component "gateway") -}}
{{- add .root.Values.preStopSeconds $grace (include "quicprochat.drainSeconds" . | int) 10 -}}
{{- end -}}

{{- /* Files of a process of ours, all below /etc/quicprochat. Takes root and component. */ -}}
{{- define "quicprochat.files" -}}
{{- $values := .root.Values -}}
{{- $name := include "quicprochat.fullname" .root -}}
- secret: {name: {{ include "quicprochat.secretName" (list .root "secret") }}, items: [{key: secret, path: secret}]}
- secret: {name: {{ include "quicprochat.secretName" (list .root (printf "bus-%s" .component)) }}, items: [{key: nkey, path: bus.nk}]}
{{- if eq $values.nats.mode "included" }}
- secret: {name: {{ include "quicprochat.secretName" (list .root "tls-nats") }}, items: [{key: ca.crt, path: bus-ca.crt}]}
{{- else if $values.nats.external.caSecret }}
- secret: {name: {{ $values.nats.external.caSecret }}, items: [{key: ca.crt, path: bus-ca.crt}]}
{{- end }}
- secret: {name: {{ include "quicprochat.secretName" (list .root "cache") }}, items: [{key: url, path: cache.url}]}
{{- if eq (include "quicprochat.redis" .root) "included" }}
- secret: {name: {{ include "quicprochat.secretName" (list .root "tls-cache") }}, items: [{key: ca.crt, path: cache-ca.crt}]}
{{- else if $values.redis.external.caSecret }}
- secret: {name: {{ $values.redis.external.caSecret }}, items: [{key: ca.crt, path: cache-ca.crt}]}
{{- end }}
{{- if and $values.tracing.endpoint $values.tracing.caSecret }}
- secret: {name: {{ $values.tracing.caSecret }}, items: [{key: ca.crt, path: otlp-ca.crt}]}
{{- end }}
{{- if has .component (list "auth" "keypackage" "delivery" "blob") }}
{{- include "quicprochat.databaseFiles" . }}
{{- end }}
{{- if eq .component "gateway" }}
- secret: {name: {{ include "quicprochat.secretName" (list .root "edge-keys") }}, items: [{key: keys, path: edge.keys}]}
- secret: {name: {{ $values.gateway.tls.secretName | default (printf "%s-tls-public" $name) }}, items: [{key: tls.crt, path: public.crt}, {key: tls.key, path: public.key}]}
{{- end }}
{{- if has .component (list "gateway" "blob") }}
- secret: {name: {{ include "quicprochat.secretName" (list .root (printf "tls-%s" .component)) }}, items: [{key: tls.crt, path: bulk.crt}, {key: tls.key, path: bulk.key}, {key: ca.crt, path: bulk-ca.crt}]}
{{- end }}
{{- if eq .component "admin" }}
- secret: {name: {{ include "quicprochat.secretName" (list .root "tls-admin") }}, items: [{key: tls.crt, path: admin.crt}, {key: tls.key, path: admin.key}]}
- secret: {name: {{ include "quicprochat.secretName" (list .root "admin-client") }}, items: [{key: ca.crt, path: admins.crt}]}
{{- end }}
{{- end -}}

{{- define "quicprochat.databaseFiles" }}
{{- $name := include "quicprochat.fullname" .root }}
- secret: {name: {{ include "quicprochat.secretName" (list .root (printf "db-%s" .component)) }}, items: [{key: url, path: db.url}]}
{{- $mode := include "quicprochat.postgres" .root }}
{{- $ca := index (dict "included" (include "quicprochat.secretName" (list .root "tls-postgres")) "cnpg" (printf "%s-db-ca" $name) "external" .root.Values.postgres.external.caSecret) $mode }}
{{- with $ca }}
- secret: {name: {{ . }}, items: [{key: ca.crt, path: db-ca.crt}]}
{{- end }}
{{- end -}}

{{- /* Secrets of the chart's own that a component reads. */ -}}
{{- define "quicprochat.usedSecrets" -}}
{{- $names := list "secret" "cache" (printf "bus-%s" .component) "tls-nats" "tls-cache" "tls-postgres" (printf "db-%s" .component) -}}
{{- if has .component (list "gateway" "blob" "admin") -}}{{- $names = append $names (printf "tls-%s" .component) -}}{{- end -}}
{{- if eq .component "gateway" -}}{{- $names = append $names "tls-public" -}}{{- end -}}
{{- if eq .component "admin" -}}{{- $names = append $names "admin-client" -}}{{- end -}}
{{- $names | toJson -}}
{{- end -}}
