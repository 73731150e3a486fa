//! Reading MLSMessages (RFC 9420 section 6).

use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::tls_codec::{Deserialize as _, VLBytes};
use openmls::prelude::{
    ContentType, MlsMessageBodyIn, MlsMessageIn, ProtocolMessage, PublicMessageIn, RatchetTreeIn, Sender, WireFormat,
};
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

/// A commit in a PublicMessage, of a member or of somebody who joins by it.
pub(super) fn commit(bytes: &[u8]) -> Result<ProtocolMessage, MlsError> {
    const KIND: &str = "commit of a member or joiner";
    let message = public_message(bytes, KIND)?;
    let sender = matches!(message.sender(), Sender::Member(_) | Sender::NewMemberCommit);
    if message.content_type() != ContentType::Commit || !sender {
        return Err(MlsError::Malformed(KIND));
    }
    Ok(message.into())
}

/// A proposal of a member in a PublicMessage.
pub(super) fn proposal(bytes: &[u8]) -> Result<PublicMessageIn, MlsError> {
    const KIND: &str = "proposal of a member";
    let message = public_message(bytes, KIND)?;
    if message.content_type() != ContentType::Proposal || !matches!(message.sender(), Sender::Member(_)) {
        return Err(MlsError::Malformed(KIND));
    }
    Ok(message)
}

fn public_message(bytes: &[u8], kind: &'static str) -> Result<PublicMessageIn, MlsError> {
    expect_format(bytes, WireFormat::PublicMessage, kind)?;
    match body(bytes, kind)? {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message),
        _ => Err(MlsError::Malformed(kind)),
    }
}

pub(super) fn group_info(bytes: &[u8], kind: &'static str) -> Result<VerifiableGroupInfo, MlsError> {
    match body(bytes, kind)? {
        MlsMessageBodyIn::GroupInfo(info) => Ok(info),
        _ => Err(MlsError::Malformed(kind)),
    }
}

/// A ratchet tree apart from a GroupInfo (the content of the extension of RFC 9420 section 12.4.3.3).
pub(super) fn ratchet_tree(bytes: &[u8]) -> Result<RatchetTreeIn, MlsError> {
    RatchetTreeIn::tls_deserialize_exact(bytes).map_err(|_| MlsError::Malformed("ratchet tree"))
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
    let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| MlsError::Malformed(kind))?;
    Ok(message.extract())
}

pub(super) fn group_id(id: &openmls::prelude::GroupId) -> Result<GroupId, MlsError> {
    GroupId::try_from(id.as_slice()).map_err(|_| MlsError::Malformed("group id of 16 bytes"))
}

/// The bytes of the variable-size vector (RFC 9420 section 2.1.2) that `bytes` begin with, and what follows it. From a
/// reader, as everything here is: the codec's way over slices aborts debug builds on short input.
pub(super) fn vector<'a>(bytes: &'a [u8], kind: &'static str) -> Result<(Vec<u8>, &'a [u8]), MlsError> {
    let mut rest = bytes;
    let vector = VLBytes::tls_deserialize(&mut rest).map_err(|_| MlsError::Malformed(kind))?;
    Ok((vector.into(), rest))
}

/// The bytes after the header of an MLSMessage of this format.
pub(super) fn body_of<'a>(bytes: &'a [u8], format: WireFormat, kind: &'static str) -> Result<&'a [u8], MlsError> {
    bytes.strip_prefix(&header(format)).ok_or(MlsError::Malformed(kind))
}

pub(super) fn header(format: WireFormat) -> [u8; 4] {
    // struct { ProtocolVersion version = mls10; WireFormat wire_format; ... } MLSMessage;
    let [high, low] = (format as u16).to_be_bytes();
    [0, 1, high, low]
}

fn expect_format(bytes: &[u8], format: WireFormat, kind: &'static str) -> Result<(), MlsError> {
    body_of(bytes, format, kind).map(|_| ())
}
