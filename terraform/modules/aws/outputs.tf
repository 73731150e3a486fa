output "dns_name" {
  description = "Name of the balancer."
  value       = aws_lb.gateways.dns_name
}

output "environment" {
  description = "Variables of each gateway."
  value       = module.plan.environment
}

output "sizing" {
  description = "Connections that a gateway must be able to hold, and MiB for it."
  value       = module.plan.sizing
}
