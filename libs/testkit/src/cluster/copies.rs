//! Copies of the databases, and the way back to one.

use std::{fs, mem};

use anyhow::{Context, Result, anyhow, ensure};
use qpc_chassis::db::{Migrate, contract::copied_database};
use rand::RngCore;

use super::{Backend, Cluster, GRACE};

/// How much ran before everything was stopped.
pub struct Halted {
    gateways: usize,
    replicas: usize,
}

/// All databases as they were at one moment.
pub struct Copied(String);

impl Cluster {
    /// Stops gateways and services, whose clients have left. The cache stays as it is.
    pub async fn halt(&mut self) -> Result<Halted> {
        let (gateways, services) = (mem::take(&mut self.gateways), mem::take(&mut self.services));
        let halted = Halted { gateways: gateways.len(), replicas: services.len() };
        for running in gateways {
            ensure!(running.deps.runtime.drain(GRACE).await, "a gateway did not end in time");
        }
        for deps in services {
            let ended = deps.runtime.drain(GRACE).await && deps.databases.close().await;
            ensure!(ended, "a service did not end in time");
        }
        Ok(halted)
    }

    /// Starts as much again. The gateways have other addresses.
    pub async fn resume(&mut self, halted: Halted) -> Result<()> {
        for _ in 0..halted.replicas {
            self.add_services().await?;
        }
        for _ in 0..halted.gateways {
            let gateway = self.start_gateway("127.0.0.1:0".parse()?).await?;
            self.gateways.push(gateway);
        }
        Ok(())
    }

    /// Copies the databases, while nothing runs.
    pub async fn copy_databases(&self) -> Result<Copied> {
        self.copy(&self.deps.db).await.map(Copied)
    }

    /// Puts a copy in the place of the databases, while nothing runs. The copy stays as it is.
    pub async fn put_back(&mut self, copied: &Copied) -> Result<()> {
        self.deps.db = self.copy(&copied.0).await?;
        Ok(())
    }

    /// Runs every service once, as its process does with `--migrate restored`. Returns what they say.
    pub async fn restored(&self) -> Result<Vec<String>> {
        let (mut said, now_ms) = (Vec::new(), self.deps.runtime.now_ms());
        for schema in qpc_server::SCHEMAS {
            let done = schema.prepare(Migrate::Restored, &self.deps.db, now_ms).await;
            said.push(format!("{}: {}", schema.service, done.map_err(|error| anyhow!(error))?));
        }
        Ok(said)
    }

    /// Copies what a database setting names; returns the setting of the copy.
    async fn copy(&self, setting: &str) -> Result<String> {
        let name = format!("testkit_{:016x}", self.deps.runtime.rng().next_u64());
        match &self.backend {
            Backend::Embedded => {
                let from = setting.strip_prefix("sqlite:").context("not a folder")?;
                let to = self.folder.path().join("copies").join(name);
                fs::create_dir_all(&to)?;
                for file in fs::read_dir(from)? {
                    let file = file?;
                    if file.file_name().to_string_lossy().ends_with(".db") {
                        fs::copy(file.path(), to.join(file.file_name()))?;
                    }
                }
                Ok(format!("sqlite:{}", to.display()))
            }
            Backend::Servers { postgres, .. } => Ok(copied_database(postgres, setting, &name).await),
        }
    }
}
