//! The chart, rendered by helm: the examples of `ci`, and what it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::repo;

pub(super) const CHART: &str = "charts/quicprochat";
/// Name and namespace of the release that is rendered.
pub(super) const RELEASE: &str = "quic";
pub(super) const NAMESPACE: &str = "chat";
/// The issue asks for that many kinds of installations.
const EXAMPLES_AT_LEAST: usize = 12;
/// How a file of values that must be refused begins; the words are of the message.
const REFUSED: &str = "# refused: ";
/// Name, values and what k8s/dev/secrets.sh says beside them.
const DEVELOPMENT: (&str, &str, [&str; 2]) =
    ("development", "k8s/dev/values.yaml", ["--set", "secrets.generate=always"]);

/// An example and the objects that it makes.
pub(super) struct Render {
    /// Of its file.
    pub(super) name: String,
    pub(super) objects: Vec<Value>,
}

impl Render {
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }
}

/// `KIND/NAME`.
pub(super) fn title(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// All examples, and what `tilt up` installs.
pub(super) fn examples(helm: &Path) -> Result<Vec<Render>> {
    let files = values("ci")?;
    ensure!(files.len() >= EXAMPLES_AT_LEAST, "{} examples, {EXAMPLES_AT_LEAST} are wanted", files.len());
    let mut renders: Vec<Render> =
        files.iter().map(|file| render(helm, &stem(file), file, &[])).collect::<Result<_>>()?;
    renders.push(render(helm, DEVELOPMENT.0, Path::new(DEVELOPMENT.1), &DEVELOPMENT.2)?);
    Ok(renders)
}

fn render(helm: &Path, name: &str, file: &Path, more: &[&str]) -> Result<Render> {
    let printed = template(helm, file, more).map_err(|refusal| anyhow::anyhow!("{name}: {refusal}"))?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&printed).with_context(|| format!("{name}: no YAML"))?;
    let objects: Vec<Value> = objects.into_iter().filter(|object| !object.is_null()).collect();
    ensure!(!objects.is_empty(), "{name}: nothing is rendered");
    Ok(Render { name: name.to_owned(), objects })
}

/// `helm lint` with an example: nothing but what it says of all charts without a picture.
pub(super) fn lint(helm: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new(helm);
    command.args(["lint", "--strict", "--quiet", CHART, "--values"]).arg(file).current_dir(repo::root());
    let output = command.output().context("start helm")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", stem(file), said.trim());
    Ok(())
}

/// The file is refused, and by the words that stand in its first line.
pub(super) fn refused(helm: &Path, file: &Path) -> Result<()> {
    let values = fs::read_to_string(repo::root().join(file)).with_context(|| format!("read {}", file.display()))?;
    let expected = values.lines().next().and_then(|line| line.strip_prefix(REFUSED));
    let expected = expected.with_context(|| format!("{} does not begin with {REFUSED}", file.display()))?;
    match template(helm, file, &[]) {
        Ok(_) => bail!("{} is rendered; expected: {expected}", stem(file)),
        Err(message) if message.contains(expected) => Ok(()),
        Err(message) => bail!("{}: expected: {expected}; helm said: {message}", stem(file)),
    }
}

/// Files of values below a folder of the chart.
pub(super) fn values(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(CHART).join(folder);
    let found = repo::files(&repo::root().join(&folder), "yaml")?;
    let mut found: Vec<PathBuf> =
        found.iter().filter_map(|path| path.strip_prefix(repo::root()).ok()).map(Path::to_owned).collect();
    ensure!(!found.is_empty(), "{} is empty", folder.display());
    found.sort();
    Ok(found)
}

/// What helm prints, or how it refuses. No cluster is asked, so it is what GitOps renders too.
fn template(helm: &Path, file: &Path, more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(helm);
    command.args(["template", RELEASE, CHART, "--namespace", NAMESPACE, "--values"]).arg(file);
    let output =
        command.args(more).current_dir(repo::root()).output().map_err(|error| format!("start helm: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

pub(super) fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
