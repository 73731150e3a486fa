//! Modules of Terraform: form, tests of what needs no provider, and of the others where their providers can be had.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{in_path, skipped};
use crate::{
    folder,
    reaper::Reaper,
    repo,
    report::Count,
    step::{self, Show},
    tools,
};

const MODULES: &str = "terraform/modules";
/// Calls of one program; a provider may have to be fetched.
const WITHIN: Duration = Duration::from_secs(600);

pub(super) fn check(reaper: &mut Reaper) -> Result<Count> {
    let Some(terraform) = in_path("terraform") else { return Ok(skipped("terraform 1.9 or newer in PATH")) };
    // Working files go beside a copy.
    let folder = folder::temporary("terraform")?;
    reaper.remove(&folder)?;
    // Providers are large.
    let cache = tools::folder()?.join("terraform");
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let mut run = |module: Option<&str>, args: &[&str]| {
        let mut command = Command::new(&terraform);
        command.args(args).current_dir(module.map_or_else(|| folder.clone(), |module| folder.join(module)));
        if args[0] == "init" {
            // It says at length that there is no registry.
            command.stderr(Stdio::null());
        }
        command.env("TF_PLUGIN_CACHE_DIR", &cache).env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        Ok::<_, anyhow::Error>(step::run(reaper, "terraform", &mut command, WITHIN, Show::Yes)?.success)
    };
    let modules = copy(&repo::root().join(MODULES), &folder)?;
    let mut count = Count::default();
    let mut judge = |name: &str, good: bool| {
        println!("{} {name}", if good { "ok" } else { "FAILED" });
        count.passed += u64::from(good);
        count.failed += u64::from(!good);
    };
    judge("fmt", run(None, &["fmt", "-check", "-recursive", "-diff"])?);
    let mut without = Vec::new();
    for module in &modules {
        if !run(Some(module), &["init", "-input=false", "-no-color"])? {
            without.push(module.as_str());
            continue;
        }
        judge(&format!("{module}: validate"), run(Some(module), &["validate", "-no-color"])?);
        judge(&format!("{module}: test"), run(Some(module), &["test", "-no-color"])?);
    }
    // A module that needs no provider can always be tested.
    judge("plan needs no provider", !without.contains(&"plan"));
    if !without.is_empty() {
        println!("skipped {}: `terraform init` gets no providers here", without.join(", "));
        count.ignored += without.len() as u64;
    }
    Ok(count)
}

/// Copies the modules with their tests; returns their names.
fn copy(from: &Path, to: &Path) -> Result<Vec<String>> {
    let mut modules = Vec::new();
    let mut files = repo::files(from, "tf")?;
    files.extend(repo::files(from, "hcl")?);
    for file in files {
        let path: PathBuf = file.strip_prefix(from)?.to_owned();
        let copy = to.join(&path);
        fs::create_dir_all(copy.parent().context("a file lies in a folder")?)?;
        fs::copy(&file, &copy).with_context(|| format!("copy {}", file.display()))?;
        if let Some(module) = path.iter().next().and_then(|name| name.to_str()) {
            modules.push(module.to_owned());
        }
    }
    modules.sort();
    modules.dedup();
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::MODULES;
    use crate::repo;

    #[test]
    fn server_ids_are_made_as_gateways_make_them() {
        let read = |path: &str| fs::read_to_string(repo::root().join(path)).unwrap();
        let gateway = read("services/gateway/src/edge/cid.rs");
        let letters = gateway.split("OF_IPV4: [u8; 4] = *b\"").nth(1).unwrap().get(..4).unwrap();
        let digits: String = letters.bytes().map(|letter| format!("{letter:02x}")).collect();
        let plan = read(&format!("{MODULES}/plan/main.tf"));
        assert!(plan.contains(&format!("prefix = \"{digits}\"")), "server ids begin with {letters:?}, {digits}");
        assert!(gateway.contains("const SERVER: usize = 8;"), "as many octets as the letters and an IPv4 address");
    }
}
