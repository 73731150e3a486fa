//! The method table, read from its source: xtask depends on nothing of ours.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// Where the table is.
pub(crate) const SOURCE: &str = "libs/wire/src/methods.rs";

/// A row of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) access: String,
    pub(crate) effect: String,
    pub(crate) deadline_ms: u32,
    pub(crate) request: String,
    pub(crate) response: String,
    /// Line in [`SOURCE`], from 1.
    pub(crate) line: usize,
}

impl Method {
    /// Name of its file.
    pub(crate) fn snake_case(&self) -> String {
        let mut text = String::new();
        for (index, letter) in self.name.char_indices() {
            if letter.is_ascii_uppercase() && index > 0 {
                text.push('_');
            }
            text.push(letter.to_ascii_lowercase());
        }
        text
    }
}

/// The table of the repository.
pub(crate) fn load(root: &Path) -> Result<Vec<Method>> {
    let path = root.join(SOURCE);
    parse(&fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?)
}

fn parse(source: &str) -> Result<Vec<Method>> {
    let mut methods = Vec::new();
    let mut inside = false;
    for (index, line) in source.lines().enumerate() {
        match line {
            "methods! {" => inside = true,
            "}" => inside = false,
            _ if inside => {
                let row = line.split("//").next().unwrap_or_default().trim();
                if !row.is_empty() {
                    methods.push(parse_row(row, index + 1).with_context(|| format!("{SOURCE}:{}: {row}", index + 1))?);
                }
            }
            _ => {}
        }
    }
    if methods.is_empty() {
        bail!("{SOURCE}: no methods! table");
    }
    Ok(methods)
}

fn parse_row(row: &str, line: usize) -> Result<Method> {
    let fields: Vec<&str> = row.strip_suffix(';').context("no semicolon")?.split_whitespace().collect();
    let [id, name, owner, access, effect, deadline, request, response] = fields[..] else {
        bail!("a row has eight fields");
    };
    Ok(Method {
        id: id.parse()?,
        name: name.to_owned(),
        owner: owner.to_owned(),
        access: access.to_owned(),
        effect: effect.to_owned(),
        deadline_ms: deadline.parse()?,
        request: request.to_owned(),
        response: response.to_owned(),
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::{load, parse};
    use crate::repo;

    const TABLE: &str = "methods! {\n//  id name\n    202 FetchWait Delivery Device Read 35000 FetchWaitRequest FetchResponse; // x\n}\n";

    #[test]
    fn rows_are_read_with_their_lines() {
        let methods = parse(TABLE).unwrap();
        assert_eq!(methods.len(), 1);
        assert_eq!((methods[0].id, methods[0].line, &*methods[0].owner), (202, 3, "Delivery"));
        assert_eq!(methods[0].snake_case(), "fetch_wait");
        assert!(parse("").is_err() && parse(&TABLE.replace("Read ", "")).is_err());
    }

    #[test]
    fn the_real_table_is_read_whole() {
        let methods = load(&repo::root()).unwrap();
        assert!(methods.len() >= 24 && methods.is_sorted_by_key(|method| method.id));
    }
}
