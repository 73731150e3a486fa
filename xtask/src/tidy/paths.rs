//! Every path that a document mentions exists.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, read, relative};
use crate::repo;

/// Documents at the top.
const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
/// Folders whose names at the beginning of a token make it a path; also some that are planned, so that nobody writes of
/// them too early.
const TOP: [&str; 14] = [
    ".ci",
    ".cargo",
    "proto",
    "libs",
    "services",
    "clients",
    "edge-firmware",
    "loadtest",
    "charts",
    "k8s",
    "terraform",
    "docs",
    "xtask",
    "fuzz",
];
/// Folders that a crate's own README names without saying where they are.
const IN_CRATE: [&str; 3] = ["src", "tests", "migrations"];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut documents: Vec<PathBuf> =
        DOCUMENTS.iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect();
    documents.extend(repo::files(&root.join("docs"), "md")?);
    for folder in ["services", "libs", "clients", "loadtest"] {
        let readmes = repo::files(&root.join(folder), "md")?;
        documents.extend(readmes.into_iter().filter(|path| path.ends_with("README.md")));
    }
    let mut findings = Vec::new();
    for path in documents {
        let document = relative(root, &path);
        for (line, mention) in mentions(&read(&path)?) {
            if !exists(root, &document, &mention) {
                let (Mention::Token(text) | Mention::Link(text)) = mention;
                findings.push(Finding::new(&document, line, format!("mentions {text}, which does not exist")));
            }
        }
    }
    Ok(findings)
}

#[derive(Debug, PartialEq, Eq)]
enum Mention {
    /// In backticks.
    Token(String),
    /// Target of a link.
    Link(String),
}

/// What looks like a path, with its line. Blocks of code are left out: they show files of the reader.
fn mentions(text: &str) -> Vec<(usize, Mention)> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let tokens = line.split('`').skip(1).step_by(2).filter(|token| is_path(token));
            found.extend(tokens.map(|token| (index + 1, Mention::Token(token.to_owned()))));
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(
                targets.filter(|target| is_local(target)).map(|target| (index + 1, Mention::Link(target.to_owned()))),
            );
        }
    }
    found
}

fn is_path(token: &str) -> bool {
    let Some((first, _)) = token.split_once('/') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    token.chars().all(plain) && (TOP.contains(&first) || IN_CRATE.contains(&first))
}

fn is_local(target: &str) -> bool {
    !target.is_empty() && !target.contains("://") && !target.starts_with(['#', '<']) && !target.starts_with("mailto:")
}

fn exists(root: &Path, document: &Path, mention: &Mention) -> bool {
    let folder = document.parent().unwrap_or(Path::new(""));
    match mention {
        Mention::Link(target) => {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            root.join(folder).join(path).exists()
        }
        Mention::Token(token) => {
            let first = token.split('/').next().unwrap_or_default();
            if !IN_CRATE.contains(&first) {
                return root.join(token).exists() || root.join(folder).join(token).exists();
            }
            // Outside a crate's own page it names the shape of all crates, not a file.
            let in_crate = root.join(folder).join("Cargo.toml").is_file() && folder != Path::new("");
            !in_crate || root.join(folder).join(token).exists()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Mention, exists, mentions};
    use crate::repo;

    #[test]
    fn paths_are_told_from_other_tokens() {
        let text = "see `libs/wire` and `and/or`, `libs/*/src`, [x](docs/a.md#b) [y](https://z/q)\n```\n`libs/no`\n```\n`docs/d.md`";
        let expected = [
            (1, Mention::Token("libs/wire".to_owned())),
            (1, Mention::Link("docs/a.md#b".to_owned())),
            (5, Mention::Token("docs/d.md".to_owned())),
        ];
        assert_eq!(mentions(text), expected);
    }

    #[test]
    fn a_path_is_looked_for_where_the_document_means_it() {
        let root = repo::root();
        let token = |text: &str| Mention::Token(text.to_owned());
        assert!(exists(&root, Path::new("README.md"), &token("libs/wire/src/methods.rs")));
        assert!(!exists(&root, Path::new("README.md"), &token("libs/never/src")));
        assert!(exists(&root, Path::new("libs/wire/README.md"), &token("src/methods.rs")));
        assert!(!exists(&root, Path::new("libs/wire/README.md"), &token("src/never.rs")));
        assert!(exists(&root, Path::new("ARCHITECTURE.md"), &token("src/api/")));
        assert!(exists(&root, Path::new("libs/x.md"), &Mention::Link("../LICENSE".to_owned())));
        assert!(!exists(&root, Path::new("libs/x.md"), &Mention::Link("LICENSE".to_owned())));
    }
}
