//! One file per method, named as in the proto.

mod fetch_hybrid_key;
mod fetch_hybrid_keys;
mod fetch_key_package;
mod forget_device_keys;
mod report_keys;
mod upload_hybrid_key;
mod upload_key_package;

use std::sync::Arc;

use qpc_chassis::{Runtime, rpc::Router};
use qpc_wire::methods;

use crate::Keypackages;

/// All methods of the service.
pub(crate) fn router(state: Arc<Keypackages>, runtime: &Runtime) -> Router<Keypackages> {
    Router::new(state, runtime.clone())
        .on::<methods::UploadKeyPackage, _, _, _>(upload_key_package::handle)
        .on::<methods::FetchKeyPackage, _, _, _>(fetch_key_package::handle)
        .on::<methods::UploadHybridKey, _, _, _>(upload_hybrid_key::handle)
        .on::<methods::FetchHybridKey, _, _, _>(fetch_hybrid_key::handle)
        .on::<methods::FetchHybridKeys, _, _, _>(fetch_hybrid_keys::handle)
        .on::<methods::ForgetDeviceKeys, _, _, _>(forget_device_keys::handle)
        .on::<methods::ReportKeys, _, _, _>(report_keys::handle)
}
