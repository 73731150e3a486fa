//! What each process of a cluster says and hears on the bus: the one table from which the users of a NATS server, the chart
//! and [the page](../../../../docs/reference/bus.md) are made (`cargo xtask docs`).
//!
//! A process that begins to call another service, or to ring, gets it here first; the server refuses it otherwise.

use std::fmt::Write;

use qpc_wire::Owner;

use crate::{bulk, push, rpc};

/// A process and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Name, which is that of the binary.
    pub name: &'static str,
    /// Calls that it answers.
    serves: Option<Owner>,
    /// Services that it calls.
    calls: &'static [Owner],
    /// Gateways that it rings at.
    rings: Rings,
    /// Whether doorbells are for it. It rings at itself, to know that it is heard.
    hears: bool,
    /// Service whose replicas it asks where bodies go.
    brings: Option<Owner>,
    /// Whether it answers that question.
    takes: bool,
}

#[derive(Debug, Clone, Copy)]
enum Rings {
    Nowhere,
    Anywhere,
    Everywhere,
}

const NONE: Process =
    Process { name: "", serves: None, calls: &[], rings: Rings::Nowhere, hears: false, brings: None, takes: false };

/// All of them.
pub const PROCESSES: &[Process] = &[
    Process {
        name: "qpc-gateway",
        calls: &[Owner::Auth, Owner::Keypackage, Owner::Delivery, Owner::Blob],
        rings: Rings::Anywhere,
        hears: true,
        brings: Some(Owner::Blob),
        ..NONE
    },
    Process {
        name: "qpc-auth",
        serves: Some(Owner::Auth),
        calls: &[Owner::Keypackage, Owner::Delivery, Owner::Blob],
        rings: Rings::Everywhere,
        ..NONE
    },
    Process {
        name: "qpc-keypackage",
        serves: Some(Owner::Keypackage),
        calls: &[Owner::Auth],
        rings: Rings::Anywhere,
        ..NONE
    },
    Process {
        name: "qpc-delivery",
        serves: Some(Owner::Delivery),
        calls: &[Owner::Keypackage],
        rings: Rings::Anywhere,
        ..NONE
    },
    Process { name: "qpc-blob", serves: Some(Owner::Blob), calls: &[Owner::Auth], takes: true, ..NONE },
    Process { name: "qpc-admin", calls: &[Owner::Auth], ..NONE },
];

/// Prefix of the subjects on which answers come to a process; nobody else may hear them.
pub fn inbox(process: &str) -> String {
    format!("_INBOX_{process}")
}

impl Process {
    /// Subjects that it may publish to. Never empty: to NATS an empty list is no limit. Answers go to the inboxes of callers
    /// besides, by `allow_responses`.
    pub fn publish(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self.calls.iter().map(|owner| rpc::subject(owner.name())).collect();
        match self.rings {
            Rings::Nowhere => {}
            Rings::Anywhere => subjects.push(push::subject("*")),
            Rings::Everywhere => subjects.push(push::EVERYWHERE.to_owned()),
        }
        subjects.extend(self.brings.map(|owner| bulk::subject(owner.name())));
        if self.serves.is_some() {
            subjects.push(rpc::probe_subject("*"));
        }
        // A subscription is known to be active once a message to oneself has come back.
        subjects.push(format!("{}.>", inbox(self.name)));
        subjects
    }

    /// Subjects that it may subscribe to.
    pub fn subscribe(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        if let Some(owner) = self.serves {
            subjects.push(rpc::subject(owner.name()));
            subjects.push(rpc::probe_subject("*"));
            if self.takes {
                subjects.push(bulk::subject(owner.name()));
            }
        }
        if self.hears {
            subjects.push(push::subject("*"));
        }
        subjects.push(format!("{}.>", inbox(self.name)));
        subjects
    }

    /// How it may answer those who ask it; nothing where nobody does. The longest call over the bus takes a minute.
    pub fn responses(&self) -> Option<&'static str> {
        (self.serves.is_some() || self.hears).then_some(r#"{"max": 1, "expires": "2m"}"#)
    }
}

/// Permissions of each process, as a NATS server takes them.
pub fn json() -> String {
    let list = |subjects: Vec<String>| subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
    let rows = PROCESSES.iter().map(|process| {
        let answers = process.responses().map(|how| format!(",\n    \"allow_responses\": {how}")).unwrap_or_default();
        format!(
            "  \"{}\": {{\n    \"publish\": [{}],\n    \"subscribe\": [{}]{answers}\n  }}",
            process.name,
            list(process.publish()),
            list(process.subscribe()),
        )
    });
    format!("{{\n{}\n}}\n", rows.collect::<Vec<_>>().join(",\n"))
}

/// The reference page.
pub fn page() -> String {
    let mut page = String::from(
        "# Subjects of the bus\n\n\
         <!-- Made by `cargo xtask docs` from libs/chassis/src/bus/rights.rs. Do not edit. -->\n\n\
         Each process has a NATS user of its own, which the server lets say and hear what stands here, and no more. Whoever is\n\
         asked may answer once, within two minutes. `*` is the random name of a process. The same as a server takes it:\n\
         [bus-permissions.json](../../charts/quicprochat/files/bus-permissions.json).\n\n\
         | process | publishes | subscribes | answers |\n|---|---|---|---|\n",
    );
    let list = |subjects: Vec<String>| subjects.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
    for process in PROCESSES {
        let answers = if process.responses().is_some() { "yes" } else { "no" };
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "| {} | {} | {} | {answers} |",
            process.name,
            list(process.publish()),
            list(process.subscribe())
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{PROCESSES, json, page};

    #[test]
    fn the_files_made_from_the_table_are_up_to_date() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let files = [("charts/quicprochat/files/bus-permissions.json", json()), ("docs/reference/bus.md", page())];
        for (name, content) in files {
            #[allow(clippy::disallowed_methods, reason = "how the file is made")]
            if std::env::var("QPC_BLESS").is_ok() {
                fs::write(root.join(name), &content).unwrap();
            }
            let written = fs::read_to_string(root.join(name)).unwrap_or_default();
            assert_eq!(written, content, "{name} is out of date; run: cargo xtask docs");
        }
    }

    #[test]
    fn no_list_is_empty_and_no_subject_is_everything() {
        for process in PROCESSES {
            for subjects in [process.publish(), process.subscribe()] {
                assert!(!subjects.is_empty(), "{}: to NATS, an empty list allows everything", process.name);
                assert!(subjects.iter().all(|subject| subject.len() > 2), "{subjects:?}");
            }
        }
    }
}
