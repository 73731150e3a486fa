mock_provider "aws" {
  mock_resource "aws_lb" {
    defaults = {
      arn      = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/chat/50dc6c495c0c9188"
      dns_name = "chat-50dc6c495c0c9188.elb.eu-central-1.amazonaws.com"
      zone_id  = "Z3F0SRJ5LGBH90"
    }
  }
  mock_resource "aws_lb_target_group" {
    defaults = {
      arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/chat-quic/73e2d6bc24d8a067"
    }
  }
}

variables {
  name              = "chat"
  domain            = "chat.example"
  vpc_id            = "vpc-0a"
  vpc_cidr          = "10.0.0.0/16"
  subnet_ids        = ["subnet-0a", "subnet-0b"]
  security_group_id = "sg-0a"
  gateways = {
    a = { address = "10.0.1.10" }
    b = { address = "10.0.2.255" }
  }
}

run "each_gateway_is_known_by_the_id_that_it_gives_itself" {
  assert {
    condition = { for name, gateway in aws_lb_target_group_attachment.gateway : gateway.target_id => gateway.quic_server_id } == {
      "10.0.1.10"  = "0x717063340a00010a"
      "10.0.2.255" = "0x717063340a0002ff"
    }
    error_message = "Packets of a connection would come to another gateway."
  }
  assert {
    condition     = output.environment["b"].QPC_SERVER_ID == aws_lb_target_group_attachment.gateway["b"].quic_server_id
    error_message = "The gateway is told another id than the balancer."
  }
}

run "the_balancer_reads_connection_ids" {
  assert {
    condition     = aws_lb_listener.clients.protocol == "QUIC" && aws_lb_target_group.gateways.protocol == "QUIC" && aws_lb_target_group.gateways.target_type == "ip"
    error_message = "It is no QUIC that is balanced."
  }
  assert {
    condition     = aws_lb.gateways.ip_address_type == "ipv4" && try(length(aws_lb.gateways.security_groups), 0) == 0
    error_message = "A balancer with a QUIC listener takes neither IPv6 nor security groups."
  }
  assert {
    condition     = aws_lb_listener.clients.default_action[0].target_group_arn == aws_lb_target_group.gateways.arn
    error_message = "The listener leads elsewhere."
  }
}

run "health_is_asked_where_gateways_say_it" {
  assert {
    condition     = aws_lb_target_group.gateways.health_check[0].port == "9464" && aws_lb_target_group.gateways.health_check[0].path == "/readyz" && aws_lb_target_group.gateways.health_check[0].protocol == "HTTP"
    error_message = jsonencode(aws_lb_target_group.gateways.health_check)
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.health.from_port == 9464 && aws_vpc_security_group_ingress_rule.health.cidr_ipv4 == "10.0.0.0/16"
    error_message = "Health checks do not get in, or others do."
  }
}

run "the_port_for_clients_is_the_same_everywhere" {
  variables {
    client_port = 443
  }
  assert {
    condition = alltrue([for port in concat([
      aws_lb_listener.clients.port,
      aws_lb_target_group.gateways.port,
      aws_vpc_security_group_ingress_rule.clients.from_port,
      aws_vpc_security_group_ingress_rule.clients.to_port,
    ], [for gateway in aws_lb_target_group_attachment.gateway : gateway.port]) : port == 443])
    error_message = "A port was forgotten."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.clients.ip_protocol == "udp" && aws_vpc_security_group_ingress_rule.clients.cidr_ipv4 == "0.0.0.0/0"
    error_message = "Clients do not get in."
  }
}

run "no_name_without_a_zone" {
  assert {
    condition     = length(aws_route53_record.gateways) == 0 && output.dns_name == aws_lb.gateways.dns_name
    error_message = "There is a record of nothing."
  }
}

run "the_name_leads_to_the_balancer" {
  variables {
    route53_zone_id = "Z0A"
  }
  assert {
    condition     = aws_route53_record.gateways[0].name == "chat.example" && aws_route53_record.gateways[0].alias[0].zone_id == aws_lb.gateways.zone_id
    error_message = jsonencode(aws_route53_record.gateways)
  }
}

run "a_drain_needs_its_time" {
  command = plan
  variables {
    drain_seconds = 5
  }
  expect_failures = [var.drain_seconds]
}
