//! Commands as a shell sees them.

use std::process::Output;

use serde_json::Value;
use tokio::time::timeout;

use super::{
    Server,
    repl::{PATIENCE, qpc},
};

/// `qpc` as somebody, in the store of that name.
pub(crate) async fn run(server: &Server, name: &str, arguments: &[&str]) -> Output {
    run_in(server, name, name, &format!("pw {name}"), arguments).await
}

/// The same in any store, with any password.
pub(crate) async fn run_in(server: &Server, folder: &str, name: &str, password: &str, arguments: &[&str]) -> Output {
    let arguments = [arguments, &["-u", name]].concat();
    let command = qpc(server, folder, password, &arguments).output();
    timeout(PATIENCE * 4, command).await.unwrap().unwrap()
}

/// The lines of JSON of a command that ends with `code`.
pub(crate) async fn json(server: &Server, name: &str, arguments: &[&str], code: i32) -> Vec<Value> {
    let output = run(server, name, &[arguments, &["--json"]].concat()).await;
    parsed(&output, arguments, code)
}

/// The same in any store, with any password.
pub(crate) async fn json_in(
    server: &Server,
    folder: &str,
    name: &str,
    password: &str,
    arguments: &[&str],
    code: i32,
) -> Vec<Value> {
    let output = run_in(server, folder, name, password, &[arguments, &["--json"]].concat()).await;
    parsed(&output, arguments, code)
}

fn parsed(output: &Output, arguments: &[&str], code: i32) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(output));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What was told to a person.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What was asked for.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A place in the folder of the test.
pub(crate) fn place(server: &Server, name: &str) -> String {
    server.folder.path().join(name).display().to_string()
}
