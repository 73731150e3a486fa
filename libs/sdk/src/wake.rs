//! How this device is woken by the push service of its platform while it is not connected. What it hears then is that
//! something may be there; what, it fetches.

use qpc_wire::{
    methods::{FetchPushEndpoint, RemovePushEndpoint, SetPushEndpoint},
    v1,
};

use crate::{Error, client::Inner, retry};

/// Whether this device is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushState {
    /// Nobody has said where.
    Off,
    /// It is.
    Set,
    /// Not any more: the push service says that the subscription is over. Subscribe again.
    Gone,
    /// Not any more: the push service refused again and again.
    Refused,
}

/// How this device is woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEndpoint {
    /// See there.
    pub state: PushState,
    /// Where, if it is set.
    pub url: Option<String>,
    /// On which day (UTC) it came into this state, days since 1970.
    pub since_day: u64,
    /// What to subscribe with at the push service (RFC 8292): a point of P-256, 65 bytes. None when this server wakes nobody.
    pub server_key: Option<Vec<u8>>,
}

/// Has the server wake this device there.
pub(crate) async fn set(inner: &Inner, url: &str) -> Result<(), Error> {
    let connection = inner.connection()?;
    let request = v1::SetPushEndpointRequest { url: url.to_owned() };
    retry::call::<SetPushEndpoint>(&inner.runtime, &connection, &request).await?;
    Ok(())
}

/// Has it woken no more.
pub(crate) async fn remove(inner: &Inner) -> Result<(), Error> {
    let connection = inner.connection()?;
    retry::call::<RemovePushEndpoint>(&inner.runtime, &connection, &v1::RemovePushEndpointRequest {}).await?;
    Ok(())
}

/// What the server does.
pub(crate) async fn read(inner: &Inner) -> Result<PushEndpoint, Error> {
    let connection = inner.connection()?;
    let request = v1::FetchPushEndpointRequest {};
    let answer = retry::call::<FetchPushEndpoint>(&inner.runtime, &connection, &request).await?;
    let state = match answer.state() {
        v1::PushEndpointState::Set => PushState::Set,
        v1::PushEndpointState::Gone => PushState::Gone,
        v1::PushEndpointState::Refused => PushState::Refused,
        v1::PushEndpointState::None | v1::PushEndpointState::Unspecified => PushState::Off,
    };
    Ok(PushEndpoint {
        state,
        url: (state == PushState::Set).then_some(answer.url),
        since_day: answer.since_day,
        server_key: (!answer.server_key.is_empty()).then(|| answer.server_key.to_vec()),
    })
}
