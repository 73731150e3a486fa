//! 121 AccountReport: asks the other services too, and fails when one is away, since a part would look like the whole.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    AccountId,
    limits::quotas,
    methods::{ReportFiles, ReportKeys, ReportMailboxes},
    v1::{
        self, AccountReportRequest, AccountReportResponse, BanReport, DeviceReport, QuotaReport,
        RecoveryStatusResponse, ReportFilesRequest, ReportFilesResponse, ReportKeysRequest, ReportMailboxesRequest,
    },
};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    _request: AccountReportRequest,
) -> Result<AccountReportResponse, Error> {
    let (id, now_ms) = (ctx.identity()?.account, auth.runtime.now_ms());
    let account = auth.store.account(id).await?.ok_or(Error::DeviceRevoked)?;
    let devices = auth.store.devices(id).await?;
    let device_ids: Vec<Bytes> = devices.iter().map(|device| device.device.to_bytes()).collect();
    let mailboxes = ReportMailboxesRequest { account_id: id.to_bytes(), device_ids: device_ids.clone() };
    let keys = ReportKeysRequest { device_ids };
    let files = ReportFilesRequest { account_id: id.to_bytes() };
    let (delivery, keypackage, blob) = tokio::join!(
        auth.client.call::<ReportMailboxes>(&ctx, &mailboxes),
        auth.client.call::<ReportKeys>(&ctx, &keys),
        auth.client.call::<ReportFiles>(&ctx, &files)
    );
    let (delivery, keypackage, blob) = (delivery?, keypackage?, blob?);
    let quotas = counted(&auth, id, devices.len() as u64, &blob, now_ms).await?;
    let shown = auth.store.shown(id).await?;

    let mut reports = Vec::with_capacity(devices.len());
    for device in devices {
        let device_id = device.device.to_bytes();
        let sessions = auth.store.count_sessions(device.device, now_ms).await?;
        reports.push(DeviceReport {
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            mailbox: delivery.mailboxes.iter().find(|mailbox| mailbox.device_id == device_id).cloned(),
            keys: keypackage.keys.iter().filter(|keys| keys.device_id == device_id).cloned().collect(),
            queue_key: keypackage.queue_keys.contains(&device_id),
            device: Some(v1::Device {
                device_id,
                device_certificate: device.certificate.into(),
                added_at_ms: device.added_ms,
                name: device.name.into(),
            }),
        });
    }
    let recovery = auth.store.recovery(id).await?.map(|status| RecoveryStatusResponse {
        set_id: Bytes::copy_from_slice(&status.set),
        codes_left: u32::try_from(status.codes_left).unwrap_or(u32::MAX),
        created_at_ms: status.created_ms,
        updated_at_ms: status.updated_ms,
    });
    Ok(AccountReportResponse {
        username: account.username,
        account_id: id.to_bytes(),
        account_key: Bytes::copy_from_slice(&account.account_key),
        created_at_ms: account.created_ms,
        devices: reports,
        recovery,
        groups: delivery.groups,
        quotas,
        ban: (shown.banned_at_ms > 0).then_some(BanReport {
            banned_at_ms: shown.banned_at_ms,
            reason: shown.ban_reason,
            deletion_requested_at_ms: shown.deletion_requested_at_ms,
        }),
        files: blob.files,
    })
}

/// What is counted by the account and kept; rates live in the cache, and are nobody's by name.
async fn counted(
    auth: &Auth,
    account: AccountId,
    devices: u64,
    blob: &ReportFilesResponse,
    now_ms: u64,
) -> Result<Vec<QuotaReport>, Error> {
    let tokens = auth.store.tokens_issued(account, now_ms).await?;
    let known = [
        (quotas::DEVICES, devices, u64::from(auth.config.devices_per_account)),
        (quotas::TOKENS_DAY, tokens, u64::from(auth.config.tokens_per_day)),
        (quotas::BLOB_BYTES_DAY, blob.announced, blob.daily),
    ];
    let report = |(name, used, limit): (&str, u64, u64)| QuotaReport { name: name.to_owned(), used, limit, set: None };
    let mut quotas: Vec<_> = known.into_iter().map(report).collect();
    for quota in auth.store.quotas(account).await? {
        match quotas.iter_mut().find(|known| known.name == quota.name) {
            Some(known) => known.set = Some(quota.value),
            None => quotas.push(QuotaReport { name: quota.name, set: Some(quota.value), ..QuotaReport::default() }),
        }
    }
    Ok(quotas)
}
