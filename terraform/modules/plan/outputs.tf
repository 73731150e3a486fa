output "server_ids" {
  description = "Server id of each gateway (QPC_SERVER_ID), as load balancers that read connection ids want it."
  value       = local.server_ids
}

output "records" {
  description = "Addresses by type of record; a type without any is missing."
  value = { for type, addresses in {
    A    = sort([for gateway in local.serving : gateway.ipv4 if gateway.ipv4 != null])
    AAAA = sort([for gateway in local.serving : gateway.ipv6 if gateway.ipv6 != null])
  } : type => addresses if length(addresses) > 0 }
}

output "ttl" {
  description = "Seconds of the records."
  value       = var.ttl
}

output "rules" {
  description = "What has to be let in to gateways: port, protocol, and from where (anywhere, gateways, monitoring)."
  value       = { for name, port in local.ports : name => merge(port, { from = local.from[name] }) }
}

output "environment" {
  description = "Variables of each gateway that differ between them, or follow from the above."
  value = { for name, gateway in var.gateways : name => {
    QPC_DOMAIN         = var.domain
    QPC_LISTEN         = "[::]:${var.client_port}"
    QPC_RELAY_LISTEN   = "[::]:${local.ports.relay.port}"
    QPC_RELAY_ANNOUNCE = "${gateway.address}:${local.ports.relay.port}"
    QPC_SERVER_ID      = local.server_ids[name]
    QPC_OBSERVE        = "[::]:${local.ports.observe.port}"
  } }
}

output "sizing" {
  description = "Connections that a gateway must be able to hold when another is gone, and MiB for it."
  value = {
    connections = local.held
    memory_mib  = max(128, ceil(2 * local.idle_kib * local.held / 1024))
  }
}
