//! What the dashboards show. Everything here is asked of a running installation by `cargo xtask observe`, and nothing may
//! come back empty.

use super::grafana::{Board, Line, Panel, Shape};

/// Codes of calls that failed by no fault of their clients; the alerts count the same.
const FAILED: &str = "CODE_(INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN|DATA_LOSS)";
/// Calls whose time is the client's: waits, and bodies of files as fast as its line is.
const PATIENT: &str = "FetchWait|BlobPut|BlobGet";

/// All of them.
pub(super) fn all() -> Vec<Board> {
    vec![overview(), gateway(), auth(), keypackage(), delivery(), blob(), admin(), infrastructure()]
}

fn curves(title: &'static str, about: &'static str, unit: &'static str, lines: Vec<Line>) -> Panel {
    Panel { title, about, unit, shape: Shape::Curves, lines }
}

fn number(title: &'static str, about: &'static str, unit: &'static str, expr: &str) -> Panel {
    Panel { title, about, unit, shape: Shape::Number, lines: vec![Line::new(expr, "")] }
}

/// Part of the calls of `service` that failed.
fn failing(service: &str, window: &str) -> String {
    format!(
        "(sum(rate(qpc_call_seconds_count{{$ns,service=\"{service}\",code=~\"{FAILED}\"}}[{window}])) or vector(0)) / \
         sum(rate(qpc_call_seconds_count{{$ns,service=\"{service}\"}}[{window}]))"
    )
}

fn quantile(q: &str, by: &str, labels: &str) -> String {
    format!("histogram_quantile({q}, sum by ({by}le) (rate(qpc_call_seconds_bucket{{$ns,{labels}}}[$rate])))")
}

/// What is worth knowing of every service: how many calls, how many fail, how long they take.
fn calls(service: &str) -> Vec<Panel> {
    let rate = |by: &str, more: &str| {
        format!("sum by ({by}) (rate(qpc_call_seconds_count{{$ns,service=\"{service}\"{more}}}[$rate]))")
    };
    let quick = format!("service=\"{service}\",method!~\"{PATIENT}\"");
    vec![
        curves("Calls", "By method", "reqps", vec![Line::new(rate("method", ""), "{{method}}")]),
        curves("Answers", "By code", "reqps", vec![Line::new(rate("code", ""), "{{code}}")]),
        curves(
            "Failing calls",
            "Part of the calls that failed by no fault of their clients",
            "percentunit",
            vec![Line::new(failing(service, "$rate"), "failing")],
        ),
        curves(
            "Time of a call",
            "Without those that are meant to take long",
            "s",
            vec![Line::new(quantile("0.5", "", &quick), "p50"), Line::new(quantile("0.99", "", &quick), "p99")],
        ),
        curves(
            "Time of a call by method, p99",
            "All methods",
            "s",
            vec![Line::new(quantile("0.99", "method, ", &format!("service=\"{service}\"")), "{{method}}")],
        ),
    ]
}

/// A board of one service: what is its own first.
fn of_service(
    file: &'static str,
    title: &'static str,
    about: &'static str,
    service: &str,
    mut own: Vec<Panel>,
) -> Board {
    own.extend(calls(service));
    Board { file, title, about, panels: own }
}

fn overview() -> Board {
    let sending = "service=\"gateway\",method=~\"Enqueue|SealedEnqueue\"";
    let messages = "sum(rate(qpc_delivery_accepted_total{$ns}[$rate]))";
    let panels = vec![
        number("Connections", "Open client connections", "short", "sum(qpc_gateway_connections{$ns})"),
        number("Devices attached", "Connections with a session", "short", "sum(qpc_gateway_sessions{$ns})"),
        number("Messages", "Made durable, a second", "reqps", messages),
        number("Failing calls", "Of the last hour; the objective is 0.1 %", "percentunit", &failing("gateway", "1h")),
        number("Message to receipt, p99", "At the gateway; the objective is 1 s", "s", &quantile("0.99", "", sending)),
        number("Processes", "That give metrics", "short", "count(qpc_build_info{$ns})"),
        number("Checks that fail", "Of all processes", "short", "count(qpc_ready{$ns} == 0) or vector(0)"),
        number(
            "Certificate",
            "Days that the first one to end is good for",
            "d",
            "min(qpc_certificate_not_after_seconds{$ns} - time()) / 86400",
        ),
        curves(
            "Calls",
            "By service; those of gateways are what clients ask for",
            "reqps",
            vec![Line::new("sum by (service) (rate(qpc_call_seconds_count{$ns}[$rate]))", "{{service}}")],
        ),
        curves(
            "Answers other than OK",
            "Of gateways, by code",
            "reqps",
            vec![Line::new(
                "sum by (code) (rate(qpc_call_seconds_count{$ns,service=\"gateway\",code!=\"CODE_OK\"}[$rate]))",
                "{{code}}",
            )],
        ),
        curves(
            "Messages",
            "Made durable; news of them pushed to clients; acknowledged by them",
            "reqps",
            vec![
                Line::new(messages, "accepted"),
                Line::new("sum(rate(qpc_gateway_pushes_total{$ns}[$rate]))", "pushed"),
                Line::new("sum(rate(qpc_delivery_acknowledged_total{$ns}[$rate]))", "acknowledged"),
            ],
        ),
        curves(
            "Time of a call by service, p99",
            "Without those that are meant to take long",
            "s",
            vec![Line::new(quantile("0.99", "service, ", &format!("method!~\"{PATIENT}\"")), "{{service}}")],
        ),
        curves(
            "Versions",
            "Processes of each; two during an update",
            "short",
            vec![Line::new("count by (version) (qpc_build_info{$ns})", "{{version}}")],
        ),
    ];
    Board {
        file: "charts/quicprochat/files/dashboards/overview.json",
        title: "Overview",
        about: "How people fare with the installation",
        panels,
    }
}

fn gateway() -> Board {
    let each = |metric: &str| format!("sum by (instance) ({metric}{{$ns}})");
    let rate = |metric: &str| format!("sum by (instance) (rate({metric}{{$ns}}[$rate]))");
    let own = vec![
        curves("Connections", "By gateway", "short", vec![Line::new(each("qpc_gateway_connections"), "{{instance}}")]),
        curves(
            "Devices attached",
            "Connections with a session, by gateway",
            "short",
            vec![Line::new(each("qpc_gateway_sessions"), "{{instance}}")],
        ),
        curves("Calls in flight", "By gateway", "short", vec![Line::new(each("qpc_gateway_streams"), "{{instance}}")]),
        curves(
            "Draining",
            "1 once clients are told to leave",
            "short",
            vec![Line::new(each("qpc_gateway_draining"), "{{instance}}")],
        ),
        curves(
            "Handshakes",
            "That made a connection, and that failed or took too long",
            "reqps",
            vec![
                Line::new(rate("qpc_gateway_handshakes_total"), "made {{instance}}"),
                Line::new(rate("qpc_gateway_handshakes_failed_total"), "failed {{instance}}"),
            ],
        ),
        curves(
            "Refused",
            "Connections by a limit, streams for a bad frame",
            "reqps",
            vec![
                Line::new(rate("qpc_gateway_connections_refused_total"), "connections {{instance}}"),
                Line::new(rate("qpc_gateway_bad_frames_total"), "bad frames {{instance}}"),
            ],
        ),
        curves(
            "Pushes",
            "Written, and dropped at full queues",
            "reqps",
            vec![
                Line::new(rate("qpc_gateway_pushes_total"), "written {{instance}}"),
                Line::new(rate("qpc_gateway_pushes_dropped_total"), "dropped {{instance}}"),
            ],
        ),
        curves(
            "Packets passed on",
            "To other gateways and from them, for clients that have moved, or that a balancer has sent elsewhere",
            "reqps",
            vec![Line::new(
                "sum by (instance, direction) (rate(qpc_gateway_relayed_packets_total{$ns}[$rate]))",
                "{{direction}} {{instance}}",
            )],
        ),
        curves(
            "Stateless resets",
            "For connections of gateways that are gone",
            "reqps",
            vec![Line::new(rate("qpc_gateway_stateless_resets_total"), "{{instance}}")],
        ),
    ];
    of_service(
        "charts/quicprochat/files/dashboards/gateway.json",
        "Gateway",
        "Connections, and what clients ask for",
        "gateway",
        own,
    )
}

fn auth() -> Board {
    let of = |method: &str| {
        format!("sum by (code) (rate(qpc_call_seconds_count{{$ns,service=\"auth\",method=\"{method}\"}}[$rate]))")
    };
    let own = vec![
        curves(
            "Logins",
            "How they end; UNAUTHENTICATED is a wrong password or an unknown name",
            "reqps",
            vec![Line::new(of("OpaqueLoginFinish"), "{{code}}")],
        ),
        curves("Registrations", "How they end", "reqps", vec![Line::new(of("OpaqueRegisterFinish"), "{{code}}")]),
        curves("Sessions", "How attaching ends", "reqps", vec![Line::new(of("SessionAttach"), "{{code}}")]),
    ];
    of_service(
        "charts/quicprochat/files/dashboards/auth.json",
        "Auth",
        "Accounts, logins, sessions, devices",
        "auth",
        own,
    )
}

fn keypackage() -> Board {
    let rate = |metric: &str| format!("sum(rate({metric}{{$ns}}[$rate]))");
    let own = vec![curves(
        "Packages handed out",
        "Of last resort when a device has no others left",
        "reqps",
        vec![
            Line::new(rate("qpc_keypackage_taken_total"), "all"),
            Line::new(rate("qpc_keypackage_last_resorts_total"), "last resort"),
        ],
    )];
    of_service(
        "charts/quicprochat/files/dashboards/keypackage.json",
        "Keypackage",
        "KeyPackages and queue keys",
        "keypackage",
        own,
    )
}

fn delivery() -> Board {
    let rate = |metric: &str| format!("sum(rate({metric}{{$ns}}[$rate]))");
    let own = vec![
        curves(
            "Messages",
            "Made durable, and acknowledged by devices",
            "reqps",
            vec![
                Line::new(rate("qpc_delivery_accepted_total"), "accepted"),
                Line::new(rate("qpc_delivery_acknowledged_total"), "acknowledged"),
            ],
        ),
        curves(
            "Oldest message that waits",
            "For a device that is there; seconds",
            "s",
            vec![Line::new("max(qpc_delivery_oldest_undelivered_seconds{$ns})", "oldest")],
        ),
        curves(
            "Messages of one transaction",
            "More when they come faster than the database commits",
            "short",
            vec![
                Line::new(
                    "sum(rate(qpc_delivery_commit_batch_sum{$ns}[$rate])) / sum(rate(qpc_delivery_commit_batch_count{$ns}[$rate]))",
                    "mean",
                ),
                Line::new(
                    "histogram_quantile(0.99, sum by (le) (rate(qpc_delivery_commit_batch_bucket{$ns}[$rate])))",
                    "p99",
                ),
            ],
        ),
        curves(
            "Entries that clients could not read",
            "Of those that they have acknowledged; one in a thousand is too many",
            "percentunit",
            vec![Line::new(
                "sum(rate(qpc_delivery_undecryptable_total{$ns}[$rate])) / sum(rate(qpc_delivery_acknowledged_total{$ns}[$rate]))",
                "undecryptable",
            )],
        ),
        curves(
            "Wake-ups",
            "What push services took and did not take, and endpoints given up",
            "reqps",
            vec![
                Line::new(rate("qpc_delivery_wakes_sent_total"), "sent"),
                Line::new(rate("qpc_delivery_wakes_failed_total"), "failed"),
                Line::new(rate("qpc_delivery_wakes_removed_total"), "removed"),
            ],
        ),
    ];
    of_service("charts/quicprochat/files/dashboards/delivery.json", "Delivery", "Mailboxes and groups", "delivery", own)
}

fn blob() -> Board {
    let own = vec![
        curves(
            "Parts in memory",
            "By replica",
            "short",
            vec![Line::new("sum by (instance) (qpc_blob_parts{$ns})", "{{instance}}")],
        ),
        curves(
            "Removed",
            "Blobs and unfinished uploads whose time was over",
            "reqps",
            vec![Line::new("sum(rate(qpc_blob_removed_total{$ns}[$rate]))", "removed")],
        ),
    ];
    of_service("charts/quicprochat/files/dashboards/blob.json", "Blob", "Files", "blob", own)
}

fn admin() -> Board {
    let labels = "service=\"auth\",method=\"Administer\"";
    let panels = vec![
        curves(
            "Calls of admins",
            "As auth answers them, by code",
            "reqps",
            vec![Line::new(format!("sum by (code) (rate(qpc_call_seconds_count{{$ns,{labels}}}[$rate]))"), "{{code}}")],
        ),
        curves(
            "Time of a call",
            "In auth",
            "s",
            vec![Line::new(quantile("0.5", "", labels), "p50"), Line::new(quantile("0.99", "", labels), "p99")],
        ),
        curves(
            "Audit log",
            "Entries, refused calls included",
            "reqps",
            vec![Line::new("sum(rate(qpc_audit_entries_total{$ns}[$rate]))", "entries")],
        ),
        curves(
            "Certificate of the admin API",
            "Days that it is good for",
            "d",
            vec![Line::new(
                "(qpc_certificate_not_after_seconds{$ns,certificate=\"admin\"} - time()) / 86400",
                "{{instance}}",
            )],
        ),
    ];
    Board {
        file: "charts/quicprochat/files/dashboards/admin.json",
        title: "Admin API",
        about: "What operators do",
        panels,
    }
}

fn infrastructure() -> Board {
    let panels = vec![
        curves(
            "Checks",
            "0 is a process that lacks what it needs",
            "short",
            vec![Line::new("min by (job, check) (qpc_ready{$ns})", "{{job}} {{check}}")],
        ),
        curves(
            "Connections to the database",
            "In use, by process",
            "short",
            vec![Line::new("qpc_db_connections{$ns} - qpc_db_connections_idle{$ns}", "{{service}} {{instance}}")],
        ),
        curves(
            "Connections to the database, all processes",
            "Open ones, and how many there may be; Postgres must take as many",
            "short",
            vec![
                Line::new("sum(qpc_db_connections{$ns})", "open"),
                Line::new("sum(qpc_db_connections_max{$ns})", "most"),
            ],
        ),
        curves(
            "Bus",
            "Times within 5 minutes that a process connected anew or fell behind",
            "short",
            vec![Line::new("sum by (job) (increase(qpc_bus_lapses_total{$ns}[5m]))", "{{job}}")],
        ),
        curves(
            "Certificates",
            "Days that they are good for",
            "d",
            vec![Line::new(
                "(qpc_certificate_not_after_seconds{$ns} - time()) / 86400",
                "{{certificate}} {{instance}}",
            )],
        ),
        curves("Processes", "By job", "short", vec![Line::new("count by (job) (qpc_build_info{$ns})", "{{job}}")]),
    ];
    let about = "What all processes stand on: database, bus, certificates";
    Board { file: "charts/quicprochat/files/dashboards/infrastructure.json", title: "Infrastructure", about, panels }
}
