//! Compiles `proto/` with protox, so that no system protoc is needed.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["qpc/v1", "qpc/bus/v1", "qpc/content/v1", "qpc/admin/v1"] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new()
        // Reference-counted: a payload goes from the socket to the database without a copy.
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
