//! Reading MLSMessages (RFC 9420 section 6).

use openmls::prelude::tls_codec::DeserializeBytes as _;
use openmls::prelude::{ContentType, MlsMessageBodyIn, MlsMessageIn, ProtocolMessage, Sender, WireFormat};
use qpc_wire::GroupId;

use super::MlsError;

/// Group and epoch of an application message, from its clear header. Checks that `bytes` are an MLSMessage that holds a
/// PrivateMessage of content type application, and nothing more: only members can check what is inside.
pub fn peek_private_message(bytes: &[u8]) -> Result<(GroupId, u64), MlsError> {
    const KIND: &str = "private message";
    // The format stands in the header, so that no ratchet tree is parsed in vain.
    expect_format(bytes, WireFormat::PrivateMessage, KIND)?;
    match protocol_message(bytes, KIND)? {
        message @ ProtocolMessage::PrivateMessage(_) if message.content_type() == ContentType::Application => {
            Ok((group_id(message.group_id())?, message.epoch().as_u64()))
        }
        _ => Err(MlsError::Malformed(KIND)),
    }
}

/// For how many devices a Welcome is. Checks that `bytes` are an MLSMessage that holds one, and nothing more.
pub fn peek_welcome(bytes: &[u8]) -> Result<usize, MlsError> {
    const KIND: &str = "welcome";
    expect_format(bytes, WireFormat::Welcome, KIND)?;
    match body(bytes, KIND)? {
        MlsMessageBodyIn::Welcome(welcome) => Ok(welcome.secrets().len()),
        _ => Err(MlsError::Malformed(KIND)),
    }
}

/// A commit of a member in a PublicMessage.
pub(super) fn commit(bytes: &[u8]) -> Result<ProtocolMessage, MlsError> {
    const KIND: &str = "commit of a member";
    expect_format(bytes, WireFormat::PublicMessage, KIND)?;
    match protocol_message(bytes, KIND)? {
        ProtocolMessage::PublicMessage(message)
            if message.content_type() == ContentType::Commit && matches!(message.sender(), Sender::Member(_)) =>
        {
            Ok(ProtocolMessage::PublicMessage(message))
        }
        _ => Err(MlsError::Malformed(KIND)),
    }
}

pub(super) fn protocol_message(bytes: &[u8], kind: &'static str) -> Result<ProtocolMessage, MlsError> {
    match body(bytes, kind)? {
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        _ => Err(MlsError::Malformed(kind)),
    }
}

/// The body of the one MLSMessage that `bytes` are.
pub(super) fn body(bytes: &[u8], kind: &'static str) -> Result<MlsMessageBodyIn, MlsError> {
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| MlsError::Malformed(kind))?;
    Ok(message.extract())
}

pub(super) fn group_id(id: &openmls::prelude::GroupId) -> Result<GroupId, MlsError> {
    GroupId::try_from(id.as_slice()).map_err(|_| MlsError::Malformed("group id of 16 bytes"))
}

fn expect_format(bytes: &[u8], format: WireFormat, kind: &'static str) -> Result<(), MlsError> {
    // struct { ProtocolVersion version = mls10; WireFormat wire_format; ... } MLSMessage;
    let header = [[0, 1], (format as u16).to_be_bytes()].concat();
    if bytes.starts_with(&header) { Ok(()) } else { Err(MlsError::Malformed(kind)) }
}
