//! The method table against the services' files, the comments of the contract and the protocol reference.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{Finding, read, relative};
use crate::{
    methods::{self, Method},
    repo,
};

/// Public protocol text; checked once it exists.
const REFERENCE: &str = "docs/reference/wire.md";
/// A wait is built on the edge: the gateway fetches again when the doorbell rings.
const WAIT: &str = "FetchWait";
/// Numbers of methods have this many digits, those of events fewer.
const DIGITS: usize = 3;

pub(super) fn check(root: &Path, table: &[Method]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for method in table.iter().filter(|method| method.owner != "Gateway" && method.name != WAIT) {
        findings.extend(check_file(root, method)?);
    }
    let reference = root.join(REFERENCE);
    if reference.is_file() {
        findings.extend(check_reference(&read(&reference)?, table));
    }
    let mut comments = Vec::new();
    for path in repo::files(&root.join("proto/qpc/v1"), "proto")? {
        comments.extend(proto_comments(&relative(root, &path), &read(&path)?));
    }
    findings.extend(check_proto(&comments, table));
    Ok(findings)
}

/// One file for each call, named as the call, and about it.
fn check_file(root: &Path, method: &Method) -> Result<Option<Finding>> {
    let folder = PathBuf::from("services").join(method.owner.to_lowercase()).join("src/api");
    let name = method.snake_case();
    let places = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
    let Some(file) = places.iter().find(|file| root.join(file).is_file()) else {
        return Ok(Some(Finding::new(methods::SOURCE, method.line, format!("no {}", places[0].display()))));
    };
    let about = has_word(&read(&root.join(file))?, &method.name);
    Ok((!about).then(|| Finding::new(file, 1, format!("does not mention {}", method.name))))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// Each method has a table row with its number and its name.
fn check_reference(text: &str, table: &[Method]) -> Vec<Finding> {
    let rows: Vec<Vec<String>> = text
        .lines()
        .filter(|line| line.trim_start().starts_with('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches(['`', '*']).to_owned()).collect())
        .collect();
    let has_row = |method: &Method| {
        let id = method.id.to_string();
        rows.iter().any(|cells| cells.contains(&id) && cells.iter().any(|cell| has_word(cell, &method.name)))
    };
    table
        .iter()
        // What only services call is no client's business.
        .filter(|method| method.access != "Service" && !has_row(method))
        .map(|method| Finding::new(REFERENCE, 1, format!("no table row for {} {}", method.id, method.name)))
        .collect()
}

struct Comment {
    file: PathBuf,
    line: usize,
    id: u16,
    name: String,
}

/// Comments like `// 200 Enqueue: …`.
fn proto_comments(file: &Path, text: &str) -> Vec<Comment> {
    let parse = |line: &str| {
        let (id, rest) = line.strip_prefix("// ")?.split_once(' ')?;
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
        (id.len() >= DIGITS && is_name).then_some((id.parse().ok()?, name))
    };
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            parse(line).map(|(id, name)| Comment { file: file.to_path_buf(), line: index + 1, id, name })
        })
        .collect()
}

fn check_proto(comments: &[Comment], table: &[Method]) -> Vec<Finding> {
    let names: BTreeMap<u16, &str> = table.iter().map(|method| (method.id, &*method.name)).collect();
    let mut findings = Vec::new();
    for comment in comments {
        let found = names.get(&comment.id);
        if found != Some(&&*comment.name) {
            let told = found.map_or("no method".to_owned(), |name| format!("method {name}"));
            let message = format!("says {} {}; the table has {told} of that number", comment.id, comment.name);
            findings.push(Finding::new(&comment.file, comment.line, message));
        }
    }
    for method in table.iter().filter(|method| !comments.iter().any(|comment| comment.id == method.id)) {
        let message = format!("no proto has a comment `// {} {}`", method.id, method.name);
        findings.push(Finding::new(methods::SOURCE, method.line, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Method, check_proto, check_reference, has_word, proto_comments};

    fn method(id: u16, name: &str) -> Method {
        let text = String::new;
        Method {
            id,
            name: name.to_owned(),
            owner: "Delivery".to_owned(),
            access: text(),
            effect: text(),
            deadline_ms: 1,
            request: text(),
            response: text(),
            line: 7,
        }
    }

    #[test]
    fn comments_and_table_must_say_the_same() {
        let text = "// 200 Enqueue: x\n// 1: event\n// Words\n// 203 Fetch\n";
        let comments = proto_comments(Path::new("a.proto"), text);
        assert_eq!(comments.iter().map(|comment| comment.line).collect::<Vec<_>>(), [1, 4]);
        assert!(check_proto(&comments[..1], &[method(200, "Enqueue")]).is_empty());
        let findings = check_proto(&comments, &[method(200, "Enqueue"), method(201, "Fetch")]);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].message.contains("203 Fetch") && findings[1].message.contains("201 Fetch"));
    }

    #[test]
    fn the_reference_needs_number_and_name_in_one_row() {
        let table = [method(201, "Fetch")];
        assert!(check_reference("| 201 | `Fetch` | … |", &table).is_empty());
        for bad in ["| 201 | `FetchWait` |", "201 Fetch", "| 202 | Fetch |", "| 201 |\n| Fetch |"] {
            assert_eq!(check_reference(bad, &table).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_longer_name_is_another_name() {
        assert!(has_word("methods::Fetch;", "Fetch") && !has_word("FetchWait fetch", "Fetch"));
    }
}
