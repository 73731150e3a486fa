//! 121 AccountReport: asks the other services too, and fails when one is away, since a part would look like the whole.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    methods::{ReportKeys, ReportMailboxes},
    v1::{
        self, AccountReportRequest, AccountReportResponse, DeviceReport, RecoveryStatusResponse, ReportKeysRequest,
        ReportMailboxesRequest,
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
    let (delivery, keypackage) = tokio::join!(
        auth.client.call::<ReportMailboxes>(&ctx, &mailboxes),
        auth.client.call::<ReportKeys>(&ctx, &keys)
    );
    let (delivery, keypackage) = (delivery?, keypackage?);

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
    })
}
