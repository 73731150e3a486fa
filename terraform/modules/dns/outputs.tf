output "environment" {
  description = "Variables of each gateway."
  value       = module.plan.environment
}

output "rules" {
  description = "What the firewall of each gateway lets in."
  value       = module.plan.rules
}

output "sizing" {
  description = "Connections that a gateway must be able to hold, and MiB for it."
  value       = module.plan.sizing
}
