terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The first with quic_server_id.
      version = ">= 6.28"
    }
  }
}
