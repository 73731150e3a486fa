variable "domain" {
  description = "Name under which clients reach the gateways."
  type        = string

  validation {
    condition     = length(var.domain) <= 253 && can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.domain))
    error_message = "domain is a name in small letters, without a dot at the end, such as chat.example."
  }
}

variable "gateways" {
  description = "Gateways by name. `address` is what a gateway has itself (POD_IP, or that of its machine), which others of the installation reach; `ipv4` and `ipv6` are where clients reach it."
  type = map(object({
    address = string
    ipv4    = optional(string)
    ipv6    = optional(string)
  }))

  validation {
    condition     = length(var.gateways) > 0
    error_message = "There has to be a gateway."
  }
  validation {
    condition     = alltrue([for gateway in var.gateways : can(regex("^[0-9.]+$", gateway.address)) && can(cidrhost("${gateway.address}/32", 0))])
    error_message = "address is an IPv4 address: server ids are made of it."
  }
  validation {
    condition     = length(distinct([for gateway in var.gateways : gateway.address])) == length(var.gateways)
    error_message = "Two gateways have one address, so their connections could not be told apart."
  }
  validation {
    condition     = alltrue([for gateway in var.gateways : gateway.ipv4 == null ? true : can(regex("^[0-9.]+$", gateway.ipv4)) && can(cidrhost("${gateway.ipv4}/32", 0))])
    error_message = "ipv4 is an IPv4 address."
  }
  validation {
    condition     = alltrue([for gateway in var.gateways : gateway.ipv6 == null ? true : strcontains(gateway.ipv6, ":") && can(cidrhost("${gateway.ipv6}/128", 0))])
    error_message = "ipv6 is an IPv6 address."
  }
}

variable "draining" {
  description = "Gateways that no client is to be sent to any more. They leave DNS; their connections stay."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.draining, keys(var.gateways))) == 0
    error_message = "draining names a gateway that is none."
  }
  validation {
    condition     = length(setsubtract(keys(var.gateways), var.draining)) > 0
    error_message = "draining names all gateways, so no client would find one."
  }
}

variable "ttl" {
  description = "Seconds that a name may be remembered: so long do clients still come to a gateway that has left DNS."
  type        = number
  default     = 60

  validation {
    condition     = var.ttl >= 30 && var.ttl <= 3600 && floor(var.ttl) == var.ttl
    error_message = "ttl is 30 to 3600 seconds."
  }
}

variable "client_port" {
  description = "UDP port for clients."
  type        = number
  default     = 7000

  validation {
    condition     = var.client_port >= 1 && var.client_port <= 65535 && floor(var.client_port) == var.client_port && !contains([7002], var.client_port)
    error_message = "client_port is a port, and not that of the relay."
  }
}

variable "devices" {
  description = "Devices that are connected at once, when most are."
  type        = number
  default     = 2000

  validation {
    condition     = var.devices > 0
    error_message = "Somebody has to be there."
  }
}
