variables {
  domain = "chat.example"
  gateways = {
    a = { address = "10.0.1.10", ipv4 = "192.0.2.10", ipv6 = "2001:db8::10" }
    b = { address = "10.0.2.255", ipv4 = "192.0.2.9" }
    c = { address = "10.0.3.7", ipv4 = "192.0.2.11" }
  }
}

run "server_ids_are_what_gateways_make_of_their_addresses" {
  command = plan
  assert {
    condition     = output.server_ids == { a = "0x717063340a00010a", b = "0x717063340a0002ff", c = "0x717063340a000307" }
    error_message = jsonencode(output.server_ids)
  }
  assert {
    condition     = alltrue([for id in values(output.server_ids) : can(regex("^0x[0-9a-f]{16}$", id))])
    error_message = "The balancer of AWS wants 0x and 16 digits."
  }
}

run "all_gateways_stand_in_dns" {
  command = plan
  assert {
    condition     = jsonencode(output.records) == jsonencode({ A = ["192.0.2.10", "192.0.2.11", "192.0.2.9"], AAAA = ["2001:db8::10"] })
    error_message = jsonencode(output.records)
  }
  assert {
    condition     = output.ttl == 60
    error_message = "ttl is ${output.ttl}"
  }
}

run "who_drains_leaves_dns_and_keeps_its_id" {
  command = plan
  variables {
    draining = ["a"]
  }
  assert {
    condition     = jsonencode(output.records) == jsonencode({ A = ["192.0.2.11", "192.0.2.9"] })
    error_message = jsonencode(output.records)
  }
  assert {
    condition     = output.server_ids["a"] == "0x717063340a00010a" && output.environment["a"].QPC_SERVER_ID == output.server_ids["a"]
    error_message = jsonencode(output.server_ids)
  }
}

run "only_clients_come_from_anywhere" {
  command = plan
  variables {
    client_port = 443
  }
  assert {
    condition = output.rules == {
      clients = { port = 443, protocol = "udp", from = "anywhere" }
      relay   = { port = 7002, protocol = "udp", from = "gateways" }
      observe = { port = 9464, protocol = "tcp", from = "monitoring" }
    }
    error_message = jsonencode(output.rules)
  }
  assert {
    condition     = output.environment["b"].QPC_LISTEN == "[::]:443" && output.environment["b"].QPC_RELAY_ANNOUNCE == "10.0.2.255:7002"
    error_message = jsonencode(output.environment["b"])
  }
}

run "the_others_hold_what_one_held" {
  command = plan
  variables {
    devices = 30001
  }
  assert {
    condition     = output.sizing == { connections = 15001, memory_mib = 1114 }
    error_message = jsonencode(output.sizing)
  }
}

run "one_gateway_holds_all" {
  command = plan
  variables {
    gateways = { a = { address = "10.0.1.10", ipv4 = "192.0.2.10" } }
    devices  = 100
  }
  assert {
    condition     = output.sizing == { connections = 100, memory_mib = 128 }
    error_message = jsonencode(output.sizing)
  }
}

run "names_of_dns_are_asked_for" {
  command = plan
  variables {
    domain = "Chat.example."
  }
  expect_failures = [var.domain]
}

run "one_address_is_one_gateway" {
  command = plan
  variables {
    gateways = { a = { address = "10.0.1.10" }, b = { address = "10.0.1.10" } }
  }
  expect_failures = [var.gateways]
}

run "an_id_needs_an_ipv4_address" {
  command = plan
  variables {
    gateways = { a = { address = "2001:db8::10" } }
  }
  expect_failures = [var.gateways]
}

run "addresses_of_clients_are_addresses" {
  command = plan
  variables {
    gateways = { a = { address = "10.0.1.10", ipv4 = "192.0.2.256" } }
  }
  expect_failures = [var.gateways]
}

run "not_all_can_drain" {
  command = plan
  variables {
    draining = ["a", "b", "c"]
  }
  expect_failures = [var.draining]
}

run "who_drains_is_a_gateway" {
  command = plan
  variables {
    draining = ["d"]
  }
  expect_failures = [var.draining]
}

run "dns_is_not_remembered_for_long" {
  command = plan
  variables {
    ttl = 86400
  }
  expect_failures = [var.ttl]
}

run "the_relay_keeps_its_port" {
  command = plan
  variables {
    client_port = 7002
  }
  expect_failures = [var.client_port]
}
