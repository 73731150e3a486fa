{{- /* Prefix of every object's name. */ -}}
{{- define "quicprochat.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* What chooses the pods of a component. Takes root and component. */ -}}
{{- define "quicprochat.selector" -}}
app.kubernetes.io/name: quicprochat
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* What chooses the pods of all processes with metrics. Takes the root. */ -}}
{{- define "quicprochat.observed" -}}
app.kubernetes.io/name: quicprochat
app.kubernetes.io/instance: {{ .Release.Name }}
quicprochat.org/observed: "true"
{{- end -}}

{{- /* Labels of an object. Takes root and component, and `more`, which win over those of the values. */ -}}
{{- define "quicprochat.labels" -}}
{{ include "quicprochat.selector" . }}
app.kubernetes.io/version: {{ include "quicprochat.version" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: quicprochat
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with merge (dict) (.more | default dict) .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "quicprochat.version" -}}
{{- .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{- /* Name of a Secret: that of the values, else the chart's. Takes a list of root and name. */ -}}
{{- define "quicprochat.secretName" -}}
{{- $root := first . -}}
{{- index $root.Values.secrets.existing (last .) | default (printf "%s-%s" (include "quicprochat.fullname" $root) (last .)) -}}
{{- end -}}

{{- /* Name, namespace and labels of an object. Takes root, component and suffix. */ -}}
{{- define "quicprochat.metadata" -}}
name: {{ include "quicprochat.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "quicprochat.labels" . | nindent 2 }}
{{- end -}}

{{- /* Image of a process of ours. Takes root and component. */ -}}
{{- define "quicprochat.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/qpc-%s" $image.registry .component -}}
{{- with index $image.digests .component -}}
{{ $name }}@{{ . }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $.root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Image of somebody else: repository, tag and digest. */ -}}
{{- define "quicprochat.foreignImage" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{- /* A value as programs read it: YAML makes a million 1e+06. */ -}}
{{- define "quicprochat.text" -}}
{{ if kindIs "float64" . }}{{ toRawJson . }}{{ else }}{{ . }}{{ end }}
{{- end -}}

{{- define "quicprochat.ha" -}}
{{- if eq .Values.profile "ha" }}true{{ end -}}
{{- end -}}

{{- /* Where Postgres comes from: included, cnpg, external. */ -}}
{{- define "quicprochat.postgres" -}}
{{- .Values.postgres.mode | default (ternary "external" "included" (eq .Values.profile "ha")) -}}
{{- end -}}

{{- /* Where the cache comes from: included, external. */ -}}
{{- define "quicprochat.redis" -}}
{{- .Values.redis.mode | default (ternary "external" "included" (eq .Values.profile "ha")) -}}
{{- end -}}

{{- /* Processes of ours, with commas. */ -}}
{{- define "quicprochat.components" -}}
gateway,auth,keypackage,delivery,blob{{ if .Values.admin.enabled }},admin{{ end }}
{{- end -}}

{{- /* Whether the number of replicas is left to an autoscaler. Takes root and component. */ -}}
{{- define "quicprochat.autoscaled" -}}
{{- $own := (index .root.Values .component).autoscaling -}}
{{- if and $own (ternary (include "quicprochat.ha" .root | eq "true") $own.enabled (kindIs "invalid" $own.enabled)) -}}
{{- if not (and (eq .component "blob") (include "quicprochat.blobAlone" .root)) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- define "quicprochat.replicas" -}}
{{- $own := index .root.Values .component -}}
{{- if kindIs "invalid" $own.replicas -}}
{{- ternary 2 1 (and (include "quicprochat.ha" .root | eq "true") (not (and (eq .component "blob") (include "quicprochat.blobAlone" .root)))) -}}
{{- else -}}{{ $own.replicas }}{{- end -}}
{{- end -}}

{{- /* Whether bodies of files lie on a volume that one node can mount. */ -}}
{{- define "quicprochat.blobAlone" -}}
{{- if and (eq .Values.blob.store "disk") (ne .Values.blob.disk.accessMode "ReadWriteMany") }}true{{ end -}}
{{- end -}}
