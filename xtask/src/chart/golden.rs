//! What the examples make, kept in `tests/golden`, so that a change shows in a review: one of each profile in full, the others
//! by what is different there.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::render::{CHART, Render, text, title};
use crate::repo;

/// Rendered in full.
const SOLO: &str = "solo-gitops";
const HA: &str = "ha-external";
/// Objects are printed in lines of this length, as far as they go.
const WIDTH: usize = 120;
/// Longest public key of a user of NATS.
const NKEY: usize = 56;
/// Labels of all objects, which are looked at elsewhere and change with every version.
const COMMON: [&str; 6] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/part-of",
    "helm.sh/chart",
];

/// Annotations that follow from what is random, or from when it was made.
const MADE: [&str; 2] = ["checksum/", "quicprochat.org/renew-after"];

type Objects = BTreeMap<String, Vec<String>>;

/// Compares all, or writes what is different.
pub(super) fn check(renders: &[Render], bless: bool) -> Result<Vec<String>> {
    let mut printed = BTreeMap::new();
    for render in renders {
        printed.insert(render.name.as_str(), objects(render)?);
    }
    let mut stale = Vec::new();
    let folder = repo::root().join(CHART).join("tests/golden");
    let mut expected = Vec::new();
    for (&name, own) in &printed {
        let base = if name.starts_with("ha") { HA } else { SOLO };
        let base_objects = printed.get(base).with_context(|| format!("no example {base}"))?;
        let (file, now) = if name == base {
            (format!("{name}.txt"), full(own))
        } else {
            (format!("{name}.diff"), format!("# beside {base}\n{}", differences(base_objects, own)))
        };
        let path = folder.join(&file);
        if fs::read_to_string(&path).ok().as_deref() != Some(now.as_str()) {
            if bless {
                fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
                fs::write(&path, &now).with_context(|| format!("write {}", path.display()))?;
                println!("wrote {file}");
            } else {
                stale.push(format!(
                    "{name}: not as in tests/golden/{file}; if that is meant, cargo xtask chart check --bless"
                ));
            }
        }
        expected.push(path);
    }
    stale.extend(forgotten(&folder, &expected)?);
    Ok(stale)
}

/// Files of examples that are gone.
fn forgotten(folder: &Path, expected: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for extension in ["txt", "diff"] {
        let files = repo::files(folder, extension)?.into_iter().filter(|path| !expected.contains(path));
        found.extend(files.map(|path| format!("{} belongs to no example", path.display())));
    }
    Ok(found)
}

fn objects(render: &Render) -> Result<Objects> {
    let mut objects = Objects::new();
    for object in &render.objects {
        let (title, mut object) = (title(object), object.clone());
        shorten(&mut object).with_context(|| format!("{}: {title}", render.name))?;
        let mut lines = Vec::new();
        print(&object, 0, &mut lines);
        ensure!(!objects.contains_key(&title), "{}: two {title}", render.name);
        objects.insert(title, lines);
    }
    Ok(objects)
}

/// Takes out what is random, what stands elsewhere, and what all have.
fn shorten(object: &mut Value) -> Result<()> {
    let kind = text(&object["kind"]).to_owned();
    let files = repo::root().join(CHART).join("files");
    match kind.as_str() {
        "Secret" => {
            for field in ["data", "stringData"] {
                for value in
                    object.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|data| data.values_mut())
                {
                    *value = "made".into();
                }
            }
        }
        "ConfigMap" if title(object).contains("dashboard-") => {
            for (name, value) in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
                let file = files.join("dashboards").join(name);
                let there = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
                ensure!(text(value).trim_end() == there.trim_end(), "not what stands in {}", file.display());
                *value = format!("files/dashboards/{name}").into();
            }
        }
        "PrometheusRule" => {
            let file = files.join("alerts.yaml");
            let there = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let there: Value = serde_saphyr::from_str(&there).context("alerts.yaml")?;
            if object["spec"] != there {
                bail!("not what stands in {}", file.display());
            }
            object["spec"] = "files/alerts.yaml".into();
        }
        _ => {}
    }
    without_common(object);
    // The title says so.
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !["name", "namespace"].contains(&name.as_str()));
        }
    }
    Ok(())
}

fn without_common(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
            for (name, value) in metadata.into_iter().flatten() {
                match (name.as_str(), value.as_object_mut()) {
                    ("labels", Some(labels)) => labels.retain(|label, _| !COMMON.contains(&label.as_str())),
                    ("annotations", Some(annotations)) => {
                        let made =
                            annotations.iter_mut().filter(|(name, _)| MADE.iter().any(|made| name.starts_with(made)));
                        made.for_each(|(_, value)| *value = "made".into());
                    }
                    _ => {}
                }
            }
            fields.values_mut().for_each(without_common);
        }
        Value::Array(items) => items.iter_mut().for_each(without_common),
        _ => {}
    }
}

/// As YAML with what fits into a line on one line.
fn print(value: &Value, indent: usize, lines: &mut Vec<String>) {
    let space = " ".repeat(indent);
    let mut entry = |head: String, value: &Value| {
        let one = value.to_string();
        match value {
            Value::String(text) if text.contains('\n') => {
                lines.push(format!("{space}{head} |"));
                lines.extend(text.lines().map(|line| format!("{space}  {}", without_keys(line))));
            }
            Value::Object(_) | Value::Array(_) if indent + head.len() + one.len() >= WIDTH => {
                lines.push(format!("{space}{head}"));
                print(value, indent + 2, lines);
            }
            _ => lines.push(format!("{space}{head} {one}")),
        }
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| entry(format!("{name}:"), value)),
        Value::Array(items) => items.iter().for_each(|value| entry("-".to_owned(), value)),
        _ => {}
    }
}

/// Public keys in the configuration of NATS, which are new each time that the chart makes them.
fn without_keys(line: &str) -> String {
    match line.split_once("nkey: ") {
        Some((head, key)) if key.len() == NKEY && key.starts_with('U') => format!("{head}nkey: U..."),
        _ => line.to_owned(),
    }
}

fn full(objects: &Objects) -> String {
    let mut page = String::new();
    for (title, lines) in objects {
        _ = writeln!(page, "== {title}\n{}", lines.join("\n"));
    }
    page
}

fn differences(base: &Objects, own: &Objects) -> String {
    let mut page = String::new();
    for title in base.keys().filter(|title| !own.contains_key(*title)) {
        _ = writeln!(page, "-- {title}");
    }
    for (title, lines) in own {
        match base.get(title) {
            None => _ = writeln!(page, "++ {title}\n{}", lines.join("\n")),
            Some(there) if there != lines => _ = writeln!(page, "== {title}\n{}", changed(there, lines).join("\n")),
            Some(_) => {}
        }
    }
    page
}

/// Lines that went and lines that came, by the longest common sequence.
fn changed(old: &[String], new: &[String]) -> Vec<String> {
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{changed, print};

    #[test]
    fn what_went_and_what_came_is_told_and_nothing_else() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(changed(&lines("a b c d"), &lines("a x c d e")), ["- b", "+ x", "+ e"]);
        assert!(changed(&lines("a b"), &lines("a b")).is_empty());
    }

    #[test]
    fn what_fits_into_a_line_stands_on_one() {
        let mut lines = Vec::new();
        print(&json!({"a": {"b": [1, "x"]}, "c": "one\ntwo", "d": ["y".repeat(70), "z".repeat(70)]}), 0, &mut lines);
        let (y, z) = (format!("  - \"{}\"", "y".repeat(70)), format!("  - \"{}\"", "z".repeat(70)));
        assert_eq!(lines, [r#"a: {"b":[1,"x"]}"#, "c: |", "  one", "  two", "d:", &y, &z]);
    }
}
