variable "zone" {
  description = "Zone that the name is in, with its dot at the end, such as `example.`"
  type        = string

  validation {
    condition     = endswith(var.zone, ".")
    error_message = "zone ends with a dot."
  }
  validation {
    condition     = endswith("${var.domain}.", ".${var.zone}")
    error_message = "domain is not below zone."
  }
}

variable "domain" {
  description = "Name under which clients reach the gateways."
  type        = string
}

variable "gateways" {
  description = "As in ../plan; here each has `ipv4` or `ipv6`, or clients do not find it."
  type = map(object({
    address = string
    ipv4    = optional(string)
    ipv6    = optional(string)
  }))

  validation {
    condition     = alltrue([for gateway in var.gateways : gateway.ipv4 != null || gateway.ipv6 != null])
    error_message = "A gateway has no address for clients."
  }
}

variable "draining" {
  description = "Gateways that no client is to be sent to any more. Wait `ttl` seconds, then stop them."
  type        = set(string)
  default     = []
}

variable "ttl" {
  description = "Seconds that a name may be remembered."
  type        = number
  default     = 60
}

variable "devices" {
  description = "Devices that are connected at once, when most are."
  type        = number
  default     = 2000
}
