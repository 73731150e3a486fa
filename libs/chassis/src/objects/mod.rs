//! Bodies of files: on the local disk, or in any store that speaks S3.
//!
//! An object is written whole and read in ranges. Its name is the caller's; what is written under a name that exists takes
//! its place at once. An object that is there is durable.

pub mod contract;

use std::{fs, io, ops::Range, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use qpc_wire::Status;

/// Longest time of one request to S3, its connection included.
const S3_WITHIN: Duration = Duration::from_secs(60);
const S3_CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Further tries of a request to S3, and all the time they may take.
const S3_RETRIES: usize = 3;
const S3_RETRY_WITHIN: Duration = Duration::from_secs(60);

/// A store cannot be opened, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// Neither `disk:FOLDER` nor `s3://BUCKET…`.
    #[error("the store of bodies must be disk:FOLDER or s3://BUCKET[/PREFIX], not {0}")]
    Setting(String),
    /// S3 without credentials.
    #[error("s3:// needs --s3-key-id and the secret in QPC_S3_SECRET")]
    NoCredentials,
    /// The folder cannot be made.
    #[error("folder {path}: {source}")]
    Folder {
        /// Which folder.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The store says so.
    #[error("store of bodies: {0}")]
    Store(#[from] object_store::Error),
}

impl From<ObjectsError> for Status {
    fn from(_: ObjectsError) -> Self {
        Self::unavailable("the store of bodies is not available", 1_000)
    }
}

/// Where bodies are.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct ObjectsConfig {
    /// Where bodies are kept: disk:FOLDER or s3://BUCKET[/PREFIX]; a folder below the data by default
    #[arg(long, env = "QPC_BLOB_STORE")]
    pub blob_store: Option<String>,
    /// URL of the S3 service, where that is not Amazon's
    #[arg(long, env = "QPC_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "QPC_S3_REGION")]
    pub s3_region: Option<String>,
    /// Id of the access key
    #[arg(long, env = "QPC_S3_KEY_ID")]
    pub s3_key_id: Option<String>,
    /// The access key
    #[arg(long, env = "QPC_S3_SECRET", hide_env_values = true)]
    pub s3_secret: Option<Secret>,
    /// Put the bucket into the host name and not into the path
    #[arg(long, env = "QPC_S3_VIRTUAL_HOST")]
    pub s3_virtual_host: bool,
}

/// A setting that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// Opens the store of a setting; `default` is the folder when none is given. A folder is made.
    pub fn open(config: &ObjectsConfig, default: &FilePath) -> Result<Self, ObjectsError> {
        let setting = config.blob_store.clone().unwrap_or_else(|| format!("disk:{}", default.display()));
        if let Some(folder) = setting.strip_prefix("disk:") {
            return Self::open_disk(folder);
        }
        let Some(bucket) = setting.strip_prefix("s3://") else { return Err(ObjectsError::Setting(setting)) };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        let (Some(key_id), Some(secret)) = (&config.s3_key_id, &config.s3_secret) else {
            return Err(ObjectsError::NoCredentials);
        };
        let mut s3 = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(config.s3_region.as_deref().unwrap_or("us-east-1"))
            .with_access_key_id(key_id)
            .with_secret_access_key(&secret.0)
            .with_virtual_hosted_style_request(config.s3_virtual_host)
            .with_client_options(ClientOptions::new().with_timeout(S3_WITHIN).with_connect_timeout(S3_CONNECT_WITHIN))
            .with_retry(RetryConfig {
                max_retries: S3_RETRIES,
                retry_timeout: S3_RETRY_WITHIN,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &config.s3_endpoint {
            // Over the machine's own network, or one that is guarded otherwise; the operator has said so by the URL.
            s3 = s3.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        let s3 = s3.build()?;
        Ok(if prefix.is_empty() { Self(Arc::new(s3)) } else { Self(Arc::new(PrefixStore::new(s3, prefix))) })
    }

    fn open_disk(folder: &str) -> Result<Self, ObjectsError> {
        fs::create_dir_all(folder).map_err(|source| ObjectsError::Folder { path: folder.to_owned(), source })?;
        let disk = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self(Arc::new(disk)))
    }

    /// Writes an object: `body` joined.
    pub async fn put(&self, name: &str, body: Vec<Bytes>) -> Result<(), ObjectsError> {
        self.0.put(&Path::from(name), PutPayload::from_iter(body)).await?;
        Ok(())
    }

    /// Bytes of an object, within its length; `None` if there is no such object.
    pub async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, ObjectsError> {
        found(self.0.get_range(&Path::from(name), range).await)
    }

    /// Removes an object, if it is there.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectsError> {
        found(self.0.delete(&Path::from(name)).await).map(drop)
    }

    /// Answers when the store does.
    pub async fn ping(&self) -> Result<(), ObjectsError> {
        found(self.0.head(&Path::from("ping")).await).map(drop)
    }
}

fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, ObjectsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
