variable "name" {
  description = "Name of the load balancer and of what belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9]([a-zA-Z0-9-]{0,23}[a-zA-Z0-9])?$", var.name))
    error_message = "name has at most 25 letters, digits and hyphens."
  }
}

variable "domain" {
  description = "Name under which clients reach the gateways."
  type        = string
}

variable "route53_zone_id" {
  description = "Zone that the name is written to; none: `dns_name` has to be entered by hand."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "Network of the gateways."
  type        = string
}

variable "vpc_cidr" {
  description = "Its addresses: health checks come from the balancer's own among them."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets, one of each zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "The balancer has to be somewhere."
  }
}

variable "security_group_id" {
  description = "Security group of the gateways, which gets the rules. A balancer for QUIC cannot have one of its own."
  type        = string
}

variable "gateways" {
  description = "Gateways by name, each with the IPv4 address that it has in the network, and keeps."
  type        = map(object({ address = string }))
}

variable "client_port" {
  description = "UDP port for clients."
  type        = number
  default     = 7000
}

variable "drain_seconds" {
  description = "Seconds until the balancer forgets a gateway that is taken out: its whole drain, and some."
  type        = number
  default     = 60

  validation {
    condition     = var.drain_seconds >= 30 && var.drain_seconds <= 3600
    error_message = "drain_seconds is 30 to 3600."
  }
}

variable "devices" {
  description = "Devices that are connected at once, when most are."
  type        = number
  default     = 2000
}

variable "deletion_protection" {
  description = "Refuses to delete the balancer."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
