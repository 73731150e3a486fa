//! 820 Report: what somebody was sent, for moderators to look at. Kept only if it is proved.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use qpc_chassis::{
    db::{once, replay},
    rpc::Ctx,
};
use qpc_crypto::franking::{Franked, commitment};
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
/// What is found of a report that is kept.
const VERDICT: &str = "sent by the accused, as the server tagged it";

/// The tags prove that the accused sent exactly this. Of a message that somebody makes up, or that was sent without saying by whom,
/// nothing is kept.
pub(super) async fn handle(auth: Arc<Auth>, ctx: Ctx, request: ReportRequest) -> Result<ReportResponse, Error> {
    let caller = ctx.identity()?;
    let accused = AccountId::try_from(&request.account_id)?;
    let call = ctx.idempotent()?;
    if let Some(first) = replay(auth.store.db(), call).await? {
        return Ok(first);
    }
    let group = check(&auth, accused, &request)?;
    auth.reports.admit(&[caller.account.as_ref()]).await?;
    let id: [u8; 16] = auth.runtime.random();
    let at_ms = auth.runtime.now_ms();
    // As it came, but for the key of the call.
    let evidence = ReportRequest { idempotency_key: Bytes::new(), ..request }.encode_to_vec();
    once(auth.store.db(), call, |tx| {
        Box::pin(async move {
            let reporter = caller.account;
            let report = NewReport { id, reporter, accused, group, evidence: &evidence, verdict: VERDICT, at_ms };
            reports::insert_report(tx, &report).await?;
            Ok(ReportResponse { report_id: Bytes::copy_from_slice(&id) })
        })
    })
    .await
}

/// The group of the first message, once all are proved.
fn check(auth: &Auth, accused: AccountId, request: &ReportRequest) -> Result<GroupId, Error> {
    let (count, note) = (request.messages.len(), request.note.len());
    if !(1..=MAX_MESSAGES).contains(&count) {
        return Err(Error::Length { what: "a report, in messages,", least: 1, most: MAX_MESSAGES, actual: count });
    }
    if note > MAX_NOTE {
        return Err(Error::Length { what: "a note", least: 0, most: MAX_NOTE, actual: note });
    }
    for message in &request.messages {
        let ReportedMessage { group_id, device_id, accepted_at_ms, content, tag } = message;
        let franked = Franked {
            group: GroupId::try_from(group_id)?,
            account: accused,
            device: DeviceId::try_from(device_id)?,
            at_ms: *accepted_at_ms,
            commitment: commitment(content),
        };
        if !auth.franking_key.verify(&franked, tag) {
            return Err(Error::NotProved);
        }
    }
    Ok(GroupId::try_from(&request.messages[0].group_id)?)
}
