//! The Tiltfile, executed with stubs, and the people whom its button makes.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::{argument, helm, kustomize, output, script};
use crate::{
    cluster::Profile,
    folder, images,
    process::{self, Rank, Signal, wait_until},
    reaper::Reaper,
    repo,
    report::Count,
    servers::ports,
    step::{self, Show},
};

/// Starlark as it is run in Rust, and YAML.
const PACKAGES: [&str; 2] = ["starlark-pyo3==2026.1.3", "PyYAML==6.0.3"];
/// The button.
const SEED: &str = "k8s/dev/seed.sh";
/// Start of a server, or a run of the script.
const WITHIN: Duration = Duration::from_secs(120);

pub(super) fn check(reaper: &mut Reaper) -> Result<Count> {
    let services = images::services()?;
    let (helm, kustomize) = (argument(helm().as_deref()), argument(kustomize().as_deref()));
    let mut args = vec![helm.as_str(), kustomize.as_str()];
    args.extend(services.iter().map(String::as_str));
    script(reaper, "tiltfile.py", &PACKAGES, &args)
}

/// Runs the script of the button twice against a server, and reads what the two have got.
pub(super) fn people(reaper: &mut Reaper) -> Result<Count> {
    let folder = folder::temporary("people")?;
    reaper.remove(&folder)?;
    let (listen, observe) = (ports::udp()?, ports::tcp()?);
    let data = folder.join("server");
    let mut server = Command::new(Profile::Dev.binary("qpc-server")?);
    server.args(["--listen", &format!("127.0.0.1:{listen}"), "--observe", &format!("127.0.0.1:{observe}")]);
    server.arg("--data").arg(&data).current_dir(&folder);
    let log = folder.join("server.log");
    let (_child, tracked) = process::spawn("qpc-server", &server, &log, Rank::Service, Signal::Term)?;
    reaper.stop(&tracked)?;
    let ready = wait_until(WITHIN, || ports::is_ready(observe) || !tracked.is_alive());
    ensure!(ready && tracked.is_alive(), "qpc-server does not start:\n{}", process::tail(&log));

    let qpc = Profile::Dev.binary("qpc")?;
    let people = folder.join("people");
    for _ in 0..2 {
        let mut command = Command::new("sh");
        command.arg(SEED).current_dir(repo::root());
        command.env("QPC", &qpc).env("QPC_SERVER", format!("127.0.0.1:{listen}"));
        command.env("QPC_CA_CERT", data.join("cert.pem")).env("FOLDER", &people);
        ensure!(step::run(reaper, SEED, &mut command, WITHIN, Show::Yes)?.success, "{SEED} failed");
    }
    let mut history = Command::new(&qpc);
    history.args(["history", "@bob", "--json", "--username", "alice", "--data-dir"]).arg(people.join("alice"));
    history.args(["--no-input", "--server", &format!("127.0.0.1:{listen}"), "--password-file"]);
    history.arg(people.join("password")).arg("--ca-cert").arg(data.join("cert.pem"));
    let said = output(&mut history)?;
    for text in ["Hello Bob", "Hello Alice"] {
        ensure!(said.matches(text).count() == 1, "{text} stands {} times in:\n{said}", said.matches(text).count());
    }
    process::stop(std::slice::from_ref(&tracked));
    Ok(Count::one(true))
}
