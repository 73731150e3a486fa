terraform {
  required_version = ">= 1.9"
  required_providers {
    dns = {
      source  = "hashicorp/dns"
      version = ">= 3.4, < 4.0"
    }
  }
}
