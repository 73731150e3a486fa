//! A gateway's side of a pipe.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hmac::Mac as _;
use prost::Message as _;
use qpc_wire::{Code, Status, bus};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    time::timeout,
};

use super::{
    Bulk, BulkError, BulkTls, CHALLENGE, Pipe, mac, read_head, read_some,
    tls::{self, Connector},
};
use crate::{run::Deps, trace};

/// Longest wait for the challenge of a replica that has taken the pipe.
const CHALLENGE_WITHIN: Duration = Duration::from_secs(5);

/// Opens pipes. Cheap to clone.
#[derive(Clone)]
pub struct BulkClient {
    bulk: Arc<dyn Bulk>,
    tls: Option<Connector>,
    key: [u8; 32],
}

/// The way to the service. Dropped, it tells the service that no more comes.
pub struct BulkSender(WriteHalf<Pipe>);

/// The way back.
pub struct BulkReceiver {
    pipe: ReadHalf<Pipe>,
    buffer: BytesMut,
}

impl BulkClient {
    /// With the key of the installation, and by TLS if there are certificates for it.
    pub fn new(deps: &Deps, tls: &BulkTls) -> Result<Self, BulkError> {
        let key = deps.secrets.derive(super::serve::KEY);
        Ok(Self { bulk: deps.bulk.clone(), tls: tls.connector(deps)?, key })
    }

    /// A pipe on which `call` has been made.
    pub async fn open(
        &self,
        service: &'static str,
        mut call: bus::Call,
    ) -> Result<(BulkSender, BulkReceiver), BulkError> {
        let stop = trace::onward("pipe");
        if let Some(place) = stop.place {
            call.trace = Bytes::copy_from_slice(&place.to_array());
        }
        let asked = timeout(CHALLENGE_WITHIN, self.challenged(service)).await;
        let (mut pipe, challenge) = asked.map_err(|_| BulkError::NoReplica(service))??;
        let call = call.encode_to_vec();
        let mut head = mac(&self.key, &challenge, &call).finalize().into_bytes().to_vec();
        head.extend_from_slice(&(call.len() as u32).to_be_bytes());
        head.extend_from_slice(&call);
        pipe.write_all(&head).await?;
        pipe.flush().await?;
        let (receiver, sender) = split(pipe);
        Ok((BulkSender(sender), BulkReceiver { pipe: receiver, buffer: BytesMut::new() }))
    }

    async fn challenged(&self, service: &'static str) -> Result<(Pipe, [u8; CHALLENGE]), BulkError> {
        let mut pipe = self.bulk.connect(service).await?;
        if let Some(tls) = &self.tls {
            pipe = tls::open(&tls.current().tls, service, pipe).await?;
        }
        let mut challenge = [0; CHALLENGE];
        pipe.read_exact(&mut challenge).await?;
        Ok((pipe, challenge))
    }
}

impl BulkSender {
    /// Passes bytes of a body on; returns when there is room for more.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), BulkError> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }
}

impl BulkReceiver {
    /// Status byte and encoded response or error.
    pub async fn reply(&mut self) -> Result<(u8, Bytes), BulkError> {
        let head = read_head(&mut self.pipe, "reply").await?;
        let reply = bus::Reply::decode(head).map_err(|_| BulkError::Malformed("reply"))?;
        Ok((u8::try_from(reply.status).unwrap_or(Code::Unknown as u8), reply.body))
    }

    /// Bytes of the body that follows, in any size; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BulkError> {
        Ok(read_some(&mut self.pipe, &mut self.buffer).await?)
    }
}

impl BulkError {
    /// What a client is told of it.
    pub fn status(self) -> Status {
        self.into()
    }
}
