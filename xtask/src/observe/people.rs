//! Three people with the terminal client, so that there is something to be seen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{Profile, State},
    reaper::Reaper,
    step::{self, Output, Show},
};

/// One command.
const WITHIN: Duration = Duration::from_secs(60);
/// Everything is done as often: a rate needs a change between two looks, and what comes first makes its series.
const ROUNDS: usize = 3;
/// Size of a file.
const FILE: usize = 200_000;

struct People<'a> {
    qpc: PathBuf,
    folder: &'a Path,
    state: &'a State,
    reaper: &'a mut Reaper,
}

/// Registers three, has them talk, send files and get something wrong, and an admin look at it.
pub(super) fn talk(folder: &Path, state: &State, reaper: &mut Reaper) -> Result<()> {
    let qpc = Profile::Dev.binary("qpc")?;
    let mut people = People { qpc, folder, state, reaper };
    fs::write(folder.join("password"), "correct horse battery staple\n").context("write the password")?;
    fs::write(folder.join("wrong"), "wrong\n").context("write the password")?;
    let file = folder.join("file.bin");
    fs::write(&file, vec![7; FILE]).context("write a file")?;
    let file = file.display().to_string();
    for user in ["alice", "bob", "carol"] {
        people.must(user, &["register-user"])?;
    }
    people.must("alice", &["dm", "bob"])?;
    people.must("bob", &["sync"])?;
    for _ in 0..ROUNDS {
        people.must("alice", &["send", "@bob", "hello"])?;
        people.must("alice", &["send-file", "@bob", &file])?;
        people.must("bob", &["recv"])?;
        people.must("bob", &["send", "@alice", "hello yourself"])?;
        people.must("alice", &["recv"])?;
        people.must("alice", &["login"])?;
        let refused = people.run("alice", "wrong", &["login"])?;
        ensure!(!refused.success, "a wrong password was taken");
        let refused = people.run("alice", "password", &["dm", "nobody-at-all"])?;
        ensure!(!refused.success, "nobody was found");
        people.admin(&["stats"])?;
    }
    people.must("carol", &["dm", "bob"])?;
    people.must("alice", &["dm", "carol"])?;
    Ok(())
}

impl People<'_> {
    fn run(&mut self, user: &str, password: &str, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.qpc);
        command.args(args).current_dir(self.folder);
        command.args(["--no-input", "--server", self.state.gateways.first().context("no gateway")?]);
        command.arg("--ca-cert").arg(&self.state.ca_cert);
        command.args(["--username", user]).arg("--data-dir").arg(self.folder.join(user));
        command
            .arg("--config")
            .arg(self.folder.join("no-config"))
            .arg("--password-file")
            .arg(self.folder.join(password));
        step::run(self.reaper, "qpc", &mut command, WITHIN, Show::No)
    }

    fn must(&mut self, user: &str, args: &[&str]) -> Result<()> {
        let output = self.run(user, "password", args)?;
        ensure!(output.success, "qpc {} of {user} failed: {}", args.join(" "), output.stdout);
        Ok(())
    }

    fn admin(&mut self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.qpc);
        command.arg("admin").args(args).current_dir(self.folder);
        command.args(["--api", self.state.admins.first().context("no admin API")?]);
        command.arg("--folder").arg(&self.state.admin_folder);
        let output = step::run(self.reaper, "qpc", &mut command, WITHIN, Show::No)?;
        ensure!(output.success, "qpc admin {} failed: {}", args.join(" "), output.stdout);
        Ok(())
    }
}
