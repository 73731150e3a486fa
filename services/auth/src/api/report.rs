//! 820 Report: what somebody was sent, for moderators to look at. Kept only if it is proved.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use qpc_chassis::{
    db::{once, replay},
    rpc::Ctx,
};
use qpc_crypto::{
    DeviceCertificate,
    franking::{self, Franked, commitment},
};
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    v1::{ReportRequest, ReportResponse, ReportedMessage},
};

use crate::{
    Auth,
    error::Error,
    store::reports::{self, NewReport},
};

/// Messages of one report.
const MAX_MESSAGES: usize = 16;
/// Longest note, bytes.
const MAX_NOTE: usize = 2 << 10;
/// What is found of a report that is kept, by how its messages are proved.
const NAMED: &str = "sent by the accused, as the server tagged it";
const SIGNED: &str = "signed by a device of the accused and sealed, in this group by the time that the server tagged";
const BOTH: &str = "partly sent by the accused, as the server tagged it; partly signed by a device of the accused and sealed, \
                    in this group by the time that the server tagged";

/// What proves a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The tag names who has sent it.
    Tag,
    /// The tag says where and when, the signature under the content who.
    Signature,
}

/// The tags prove that the accused sent exactly this, or, of what was sealed, tags and signatures that the accused said it. Of a
/// message that somebody makes up nothing is kept.
pub(super) async fn handle(auth: Arc<Auth>, ctx: Ctx, request: ReportRequest) -> Result<ReportResponse, Error> {
    let caller = ctx.identity()?;
    let accused = AccountId::try_from(&request.account_id)?;
    let call = ctx.idempotent()?;
    if let Some(first) = replay(auth.store.db(), call).await? {
        return Ok(first);
    }
    let (group, verdict) = check(&auth, accused, &request).await?;
    auth.reports.admit(&[caller.account.as_ref()]).await?;
    let id: [u8; 16] = auth.runtime.random();
    let at_ms = auth.runtime.now_ms();
    // As it came, but for the key of the call.
    let evidence = ReportRequest { idempotency_key: Bytes::new(), ..request }.encode_to_vec();
    once(auth.store.db(), call, |tx| {
        Box::pin(async move {
            let reporter = caller.account;
            let report = NewReport { id, reporter, accused, group, evidence: &evidence, verdict, at_ms };
            reports::insert_report(tx, &report).await?;
            Ok(ReportResponse { report_id: Bytes::copy_from_slice(&id) })
        })
    })
    .await
}

/// The group of the first message and the verdict, once all are proved.
async fn check(auth: &Auth, accused: AccountId, request: &ReportRequest) -> Result<(GroupId, &'static str), Error> {
    let (count, note) = (request.messages.len(), request.note.len());
    if !(1..=MAX_MESSAGES).contains(&count) {
        return Err(Error::Length { what: "a report, in messages,", least: 1, most: MAX_MESSAGES, actual: count });
    }
    if note > MAX_NOTE {
        return Err(Error::Length { what: "a note", least: 0, most: MAX_NOTE, actual: note });
    }
    let mut proofs = Vec::with_capacity(count);
    for message in &request.messages {
        proofs.push(prove(auth, accused, message).await?);
    }
    let verdict = match (proofs.contains(&Proof::Tag), proofs.contains(&Proof::Signature)) {
        (true, true) => BOTH,
        (false, true) => SIGNED,
        _ => NAMED,
    };
    Ok((GroupId::try_from(&request.messages[0].group_id)?, verdict))
}

async fn prove(auth: &Auth, accused: AccountId, message: &ReportedMessage) -> Result<Proof, Error> {
    let ReportedMessage { group_id, device_id, accepted_at_ms: at_ms, content, tag, certificate } = message;
    let (group, device) = (GroupId::try_from(group_id)?, DeviceId::try_from(device_id)?);
    let (commitment, at_ms) = (commitment(content), *at_ms);
    if certificate.is_empty() {
        // That names nobody, as the tag of a sealed message does.
        if accused.0 == [0; AccountId::LEN] {
            return Err(Error::NotProved);
        }
        let franked = Franked { group, account: accused, device, at_ms, commitment };
        return auth.franking_key.verify(&franked, tag).then_some(Proof::Tag).ok_or(Error::NotProved);
    }
    if !auth.franking_key.verify(&Franked::by_nobody(group, at_ms, commitment), tag) {
        return Err(Error::NotProved);
    }
    let certificate = DeviceCertificate::parse(certificate).map_err(|_| Error::NotProved)?;
    let is_theirs = (certificate.account_id(), certificate.device_id()) == (accused, device);
    if !is_theirs || !franking::is_signed(&certificate, group, content) {
        return Err(Error::NotProved);
    }
    // Whoever has a device that was revoked can still sign with its key, and needs no session to send sealed.
    match auth.store.good_until(accused, device).await? {
        Some(until) if at_ms <= until => Ok(Proof::Signature),
        _ => Err(Error::NotProved),
    }
}
