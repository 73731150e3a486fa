//! Reports: showing the server what somebody said, so that it can see that they said it.

use std::sync::Arc;

use prost::Message as _;
use qpc_wire::{AccountId, GroupId, content as pb, methods::Report, v1};

use crate::{Error, MessageRef, client::Inner, retry, store::Tx};

/// Messages, and edits of them, of one report.
const MAX_REPORTED: usize = 16;
/// Longest note, bytes.
const MAX_NOTE: usize = 2 << 10;

/// Reports messages of one account, with what edits of them are here. Returns the id of the report.
pub(crate) async fn report(
    inner: &Arc<Inner>,
    conversation: GroupId,
    targets: &[MessageRef],
    note: &str,
) -> Result<[u8; 16], Error> {
    if note.len() > MAX_NOTE {
        return Err(Error::TextTooLong { len: note.len(), max: MAX_NOTE });
    }
    let Some(account) = targets.first().map(|target| target.author) else { return Err(Error::NothingToReport) };
    let connection = inner.connection()?;
    let (targets, key) = (targets.to_vec(), inner.idempotency_key());
    let gather = move |tx: &Tx<'_>| gather(tx, conversation, account, &targets);
    let messages = inner.store.run(gather).await?;
    if messages.is_empty() {
        return Err(Error::NothingToReport);
    }
    let request = v1::ReportRequest {
        idempotency_key: key.to_bytes(),
        account_id: account.to_bytes(),
        messages,
        note: note.to_owned(),
    };
    let response = retry::call::<Report>(&inner.runtime, &connection, &request).await?;
    response.report_id.as_ref().try_into().map_err(|_| Error::Incomplete("the id of a report"))
}

fn gather(
    tx: &Tx<'_>,
    conversation: GroupId,
    account: AccountId,
    targets: &[MessageRef],
) -> Result<Vec<v1::ReportedMessage>, Error> {
    let mut messages = Vec::new();
    for target in targets.iter().filter(|target| target.author == account) {
        for (device, evidence) in tx.evidence(conversation, *target, MAX_REPORTED - messages.len())? {
            let evidence = pb::Evidence::decode(evidence.as_slice())?;
            messages.push(v1::ReportedMessage {
                group_id: evidence.group,
                device_id: device.to_bytes(),
                accepted_at_ms: evidence.accepted_at_ms,
                content: evidence.content,
                tag: evidence.tag,
                certificate: evidence.certificate,
            });
        }
    }
    Ok(messages)
}
