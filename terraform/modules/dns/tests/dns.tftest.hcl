mock_provider "dns" {}

variables {
  zone   = "example."
  domain = "chat.example"
  gateways = {
    a = { address = "10.0.1.10", ipv4 = "192.0.2.10", ipv6 = "2001:db8::10" }
    b = { address = "10.0.2.10", ipv4 = "192.0.2.11" }
  }
}

run "clients_find_all_gateways" {
  assert {
    condition     = dns_a_record_set.gateways[0].addresses == toset(["192.0.2.10", "192.0.2.11"]) && dns_aaaa_record_set.gateways[0].addresses == toset(["2001:db8::10"])
    error_message = "An address is missing."
  }
  assert {
    condition     = dns_a_record_set.gateways[0].zone == "example." && dns_a_record_set.gateways[0].name == "chat" && dns_a_record_set.gateways[0].ttl == 60
    error_message = jsonencode(dns_a_record_set.gateways)
  }
}

run "who_drains_is_not_found" {
  variables {
    draining = ["a"]
  }
  assert {
    condition     = dns_a_record_set.gateways[0].addresses == toset(["192.0.2.11"]) && length(dns_aaaa_record_set.gateways) == 0
    error_message = "Clients would still come."
  }
}

run "names_below_names_are_kept_whole" {
  variables {
    domain = "edge.chat.example"
  }
  assert {
    condition     = dns_a_record_set.gateways[0].name == "edge.chat"
    error_message = dns_a_record_set.gateways[0].name
  }
}

run "the_name_is_in_the_zone" {
  command = plan
  variables {
    zone = "other."
  }
  expect_failures = [var.zone]
}

run "every_gateway_can_be_reached" {
  command = plan
  variables {
    gateways = { a = { address = "10.0.1.10" } }
  }
  expect_failures = [var.gateways]
}
