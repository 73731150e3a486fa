# Gateways without a load balancer: clients choose one of the addresses behind the name. A client that moves, or whose address
# is translated anew, still talks to the machine it has connected to, so nothing has to read connection ids.
#
# By dynamic updates (RFC 2136), which BIND, Knot and PowerDNS take; server and key are settings of the provider.

module "plan" {
  source   = "../plan"
  domain   = var.domain
  gateways = var.gateways
  draining = var.draining
  ttl      = var.ttl
  devices  = var.devices
}

locals {
  label = trimsuffix("${var.domain}.", ".${var.zone}")
}

resource "dns_a_record_set" "gateways" {
  count     = contains(keys(module.plan.records), "A") ? 1 : 0
  zone      = var.zone
  name      = local.label
  addresses = module.plan.records["A"]
  ttl       = module.plan.ttl
}

resource "dns_aaaa_record_set" "gateways" {
  count     = contains(keys(module.plan.records), "AAAA") ? 1 : 0
  zone      = var.zone
  name      = local.label
  addresses = module.plan.records["AAAA"]
  ttl       = module.plan.ttl
}
