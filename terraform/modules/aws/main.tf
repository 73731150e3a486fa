# Gateways behind a Network Load Balancer that reads connection ids: a packet finds the gateway of its connection wherever the
# client has moved. For gateways whose addresses last; pods that come and go are registered by AWS's own controller instead.

module "plan" {
  source      = "../plan"
  domain      = var.domain
  gateways    = var.gateways
  client_port = var.client_port
  devices     = var.devices
}

# With a QUIC listener it takes neither security groups nor IPv6.
resource "aws_lb" "gateways" {
  name                             = var.name
  load_balancer_type               = "network"
  internal                         = false
  ip_address_type                  = "ipv4"
  subnets                          = var.subnet_ids
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
  tags                             = var.tags
}

resource "aws_lb_target_group" "gateways" {
  name                 = "${var.name}-quic"
  vpc_id               = var.vpc_id
  protocol             = "QUIC"
  port                 = module.plan.rules["clients"].port
  target_type          = "ip"
  deregistration_delay = var.drain_seconds
  # Limits go by the addresses of clients. Of QUIC it cannot be turned off.
  preserve_client_ip = true
  tags               = var.tags

  # A gateway that drains stays ready, so that its connections last until it has left.
  health_check {
    protocol            = "HTTP"
    port                = tostring(module.plan.rules["observe"].port)
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "clients" {
  load_balancer_arn = aws_lb.gateways.arn
  protocol          = "QUIC"
  port              = module.plan.rules["clients"].port
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateways.arn
  }
}

resource "aws_lb_target_group_attachment" "gateway" {
  for_each         = var.gateways
  target_group_arn = aws_lb_target_group.gateways.arn
  target_id        = each.value.address
  port             = module.plan.rules["clients"].port
  quic_server_id   = module.plan.server_ids[each.key]
}

# Packets come with the addresses of clients.
resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id = var.security_group_id
  description       = "Clients"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = module.plan.rules["clients"].protocol
  from_port         = module.plan.rules["clients"].port
  to_port           = module.plan.rules["clients"].port
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "relay" {
  security_group_id            = var.security_group_id
  description                  = "Gateways among themselves"
  referenced_security_group_id = var.security_group_id
  ip_protocol                  = module.plan.rules["relay"].protocol
  from_port                    = module.plan.rules["relay"].port
  to_port                      = module.plan.rules["relay"].port
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "health" {
  security_group_id = var.security_group_id
  description       = "Health checks and metrics, from inside"
  cidr_ipv4         = var.vpc_cidr
  ip_protocol       = module.plan.rules["observe"].protocol
  from_port         = module.plan.rules["observe"].port
  to_port           = module.plan.rules["observe"].port
  tags              = var.tags
}

resource "aws_route53_record" "gateways" {
  count   = var.route53_zone_id == null ? 0 : 1
  zone_id = var.route53_zone_id
  name    = var.domain
  type    = "A"

  alias {
    name                   = aws_lb.gateways.dns_name
    zone_id                = aws_lb.gateways.zone_id
    evaluate_target_health = false
  }
}
