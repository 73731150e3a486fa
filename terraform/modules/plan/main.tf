# What every way of running gateways has to know, without a provider: it makes nothing, and is tested offline.

terraform {
  required_version = ">= 1.9"
}

locals {
  # A gateway makes its server id of these four letters and its IPv4 address, so none has to be told.
  prefix = "71706334" # "qpc4"
  server_ids = {
    for name, gateway in var.gateways :
    name => format("0x%s%s", local.prefix, join("", [for octet in split(".", gateway.address) : format("%02x", tonumber(octet))]))
  }

  serving = { for name, gateway in var.gateways : name => gateway if !contains(var.draining, name) }

  ports = {
    clients = { port = var.client_port, protocol = "udp" }
    relay   = { port = 7002, protocol = "udp" }
    observe = { port = 9464, protocol = "tcp" }
  }
  # Who may send to a gateway.
  from = {
    clients = "anywhere"
    relay   = "gateways"
    observe = "monitoring"
  }

  # One may be gone: the others hold what it held.
  bearing = max(length(local.serving) - 1, 1)
  held    = ceil(var.devices / local.bearing)
  # docs/guides/capacity.md: KiB of a connection that is idle, of which a process is given twice as much.
  idle_kib = 38
}
