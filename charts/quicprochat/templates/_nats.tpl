{{- /* Takes root and replicas. */ -}}
{{- define "quicprochat.natsConfig" -}}
{{- $name := include "quicprochat.fullname" .root -}}
{{- $root := .root -}}
server_name: $POD_NAME
port: 4222
http_port: 8222
pid_file: "/run/nats/nats.pid"
# A frame may have 1 MiB, and what goes around it some more.
max_payload: 2MB
write_deadline: "5s"
lame_duck_duration: "30s"
lame_duck_grace_period: "5s"
tls {
  cert_file: "/etc/nats-tls/tls.crt"
  key_file: "/etc/nats-tls/tls.key"
  min_version: "1.3"
  timeout: 5
}
{{- if gt .replicas 1 }}
cluster {
  name: {{ $name | quote }}
  port: 6222
  # Addresses of pods stand in no certificate; clients come back by the Service.
  no_advertise: true
  tls {
    cert_file: "/etc/nats-tls/tls.crt"
    key_file: "/etc/nats-tls/tls.key"
    ca_file: "/etc/nats-tls/ca.crt"
    verify: true
    timeout: 5
  }
  routes: [
    {{- range $place := until (int .replicas) }}
    "nats://{{ $name }}-nats-{{ $place }}.{{ $name }}-nats-peers.{{ $root.Release.Namespace }}.svc:6222"
    {{- end }}
  ]
}
{{- end }}
{{- $all := .root.Files.Get "files/bus-permissions.json" | fromJson }}
authorization {
  timeout: 5
  users: [
    {{- range $component := splitList "," (include "quicprochat.components" .root) }}
    {{- $permissions := index $all (printf "qpc-%s" $component) }}
    {{- if not $permissions }}{{ fail (printf "files/bus-permissions.json has nothing for qpc-%s" $component) }}{{ end }}
    # {{ $component }}
    {
      nkey: {{ include "quicprochat.busKey" (dict "root" $root "component" $component) }}
      permissions: {
        {{- range $verb := list "publish" "subscribe" }}
        {{- /* An empty list of NATS allows everything. */}}
        {{ $verb }}: { {{ with index $permissions $verb }}allow: {{ toRawJson . }}{{ else }}deny: [">"]{{ end }} }
        {{- end }}
        {{- with index $permissions "allow_responses" }}
        allow_responses: {{ toRawJson . }}
        {{- end }}
      }
    }
    {{- end }}
  ]
}
{{- end -}}
