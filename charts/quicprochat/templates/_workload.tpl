{{- /* Account, Deployment, disruption budget and autoscaler of a process of ours. Takes root and component. */ -}}
{{- define "quicprochat.workload" -}}
{{- $own := index .root.Values .component -}}
{{- $meta := dict "root" .root "component" .component "suffix" .component "own" $own -}}
{{- $hash := include "quicprochat.secretsHash" (dict "root" .root "names" (include "quicprochat.usedSecrets" . | fromJsonArray)) -}}
{{ include "quicprochat.account" $meta }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "quicprochat.workloadMetadata" $meta | nindent 2 }}
spec:
  {{- if not (include "quicprochat.autoscaled" .) }}
  replicas: {{ include "quicprochat.replicas" . }}
  {{- end }}
  revisionHistoryLimit: 3
  {{- if and (eq .component "blob") (include "quicprochat.blobAlone" .root) }}
  # The volume goes to one pod at a time.
  strategy:
    type: Recreate
  {{- else }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  {{- end }}
  selector:
    matchLabels:
      {{- include "quicprochat.selector" . | nindent 6 }}
  template:
    metadata:
      {{- $made := dict }}
      {{- with $hash }}{{- $_ := set $made "checksum/secrets" . }}{{- end }}
      {{- include "quicprochat.podMetadata" (merge (dict "made" $made "observed" true) $meta) | nindent 6 }}
    spec:
      serviceAccountName: {{ include "quicprochat.fullname" .root }}-{{ .component }}
      {{- include "quicprochat.podBasics" $meta | nindent 6 }}
      {{- include "quicprochat.spread" (dict "root" .root "component" .component "versioned" true) | nindent 6 }}
      terminationGracePeriodSeconds: {{ include "quicprochat.graceSeconds" . }}
      containers:
        - name: {{ .component }}
          {{- include "quicprochat.container" . | nindent 10 }}
      volumes:
        - name: files
          projected:
            defaultMode: 0440
            sources:
              {{- include "quicprochat.files" . | nindent 14 }}
        {{- if and (eq .component "blob") (eq .root.Values.blob.store "disk") }}
        - name: blobs
          persistentVolumeClaim:
            claimName: {{ .root.Values.blob.disk.existingClaim | default (printf "%s-blobs" (include "quicprochat.fullname" .root)) }}
        {{- end }}
        {{- with $own.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
---
{{ include "quicprochat.budget" $meta }}
{{- if include "quicprochat.autoscaled" . }}
---
{{ include "quicprochat.autoscaler" . }}
{{- end }}
{{- end -}}

{{- /* Account of a workload, without a token. Takes root, component, suffix and own. */ -}}
{{- define "quicprochat.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "quicprochat.metadata" . | nindent 2 }}
  {{- with .own.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{- /* Metadata of a workload itself. Takes root, component and suffix. */ -}}
{{- define "quicprochat.workloadMetadata" -}}
{{- include "quicprochat.metadata" . }}
{{- with .root.Values.workloadAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "quicprochat.container" -}}
{{- $own := index .root.Values .component -}}
image: {{ include "quicprochat.image" . }}
{{ include "quicprochat.pullPolicy" .root }}
env:
  {{- include "quicprochat.environment" . | nindent 2 }}
{{- if and .root.Values.operator.realm.create (ne .component "admin") }}
# The Realm's settings: the operator writes them, and starts the pods again when they change. Not without them: what is
# closed would be open for a moment.
envFrom:
  - configMapRef:
      name: {{ include "quicprochat.fullname" .root }}-realm
{{- end }}
ports:
  - {name: observe, containerPort: 9464, protocol: TCP}
  {{- if eq .component "gateway" }}
  - {name: clients, containerPort: 7000, protocol: UDP}
  - {name: relay, containerPort: 7002, protocol: UDP}
  {{- else if eq .component "blob" }}
  - {name: bulk, containerPort: 7003, protocol: TCP}
  {{- else if eq .component "admin" }}
  - {name: api, containerPort: 7001, protocol: TCP}
  {{- end }}
# A process ends when it does not find its parts at the start, so what fails here is slow, not broken.
startupProbe:
  httpGet: {path: /healthz, port: observe}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: observe}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# What a process lacks is read here: a gateway stays ready while it drains, or its flows would be cut.
readinessProbe:
  httpGet: {path: /readyz, port: observe}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
lifecycle:
  # Nobody is sent here any more when SIGTERM comes. By the kubelet, since the image has no shell.
  preStop:
    sleep:
      seconds: {{ .root.Values.preStopSeconds }}
resources:
  {{- toYaml $own.resources | nindent 2 }}
{{ include "quicprochat.containerSecurity" . }}
volumeMounts:
  - {name: files, mountPath: /etc/quicprochat, readOnly: true}
  {{- if and (eq .component "blob") (eq .root.Values.blob.store "disk") }}
  - {name: blobs, mountPath: /data/blobs}
  {{- end }}
  {{- with $own.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* One pod at a time may be taken away on purpose; one that does not work anyway, always. */ -}}
{{- define "quicprochat.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "quicprochat.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "quicprochat.selector" . | nindent 6 }}
{{- end -}}

{{- /* Annotations of what is there for `helm test` alone. Takes the place in the order. */ -}}
{{- define "quicprochat.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "quicprochat.autoscaler" -}}
{{- $own := (index .root.Values .component).autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "quicprochat.metadata" (dict "root" .root "component" .component "suffix" .component) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "quicprochat.fullname" .root }}-{{ .component }}
  minReplicas: {{ $own.minReplicas }}
  maxReplicas: {{ $own.maxReplicas }}
  metrics:
    {{- range $metric := list (list "connections" "qpc_gateway_connections") (list "handshakesPerSecond" "qpc_gateway_handshakes_per_second") (list "oldestUndeliveredSeconds" "qpc_delivery_oldest_undelivered_seconds") }}
    {{- with index $own (first $metric) }}
    - type: Pods
      pods:
        metric:
          name: {{ last $metric }}
        target:
          type: AverageValue
          averageValue: {{ include "quicprochat.text" . | quote }}
    {{- end }}
    {{- end }}
    {{- with $own.cpuPercent }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
        - {type: Percent, value: 100, periodSeconds: 60}
    # Whoever is moved from a gateway that goes has to connect anew, so that is done slowly.
    scaleDown:
      stabilizationWindowSeconds: {{ ternary 900 300 (eq .component "gateway") }}
      policies:
        - {type: Pods, value: 1, periodSeconds: {{ ternary 180 60 (eq .component "gateway") }}}
{{- end -}}
