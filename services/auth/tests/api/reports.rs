//! Reports are kept when they prove what they say, and only then.

use std::time::Duration;

use prost::Message;
use qpc_crypto::{
    FrankingKey,
    franking::{Franked, commitment},
};
use qpc_wire::{
    Code, GroupId,
    admin::v1 as admin,
    methods,
    v1::{self, administer_request::Call, administer_response::Answer},
};

use crate::{
    admin::administer,
    world::{Person, World, bytes, code, key},
};

const GROUP: GroupId = GroupId([7; 16]);
const AT_MS: u64 = 77;

/// A message of a person as delivery tags it.
fn tagged(world: &World, by: &Person, content: &[u8]) -> v1::ReportedMessage {
    let franked = Franked {
        group: GROUP,
        account: by.certificate.account_id(),
        device: by.certificate.device_id(),
        at_ms: AT_MS,
        commitment: commitment(content),
    };
    let tag = FrankingKey::from_bytes(&world.deps.secrets.derive("delivery/franking")).tag(&franked);
    v1::ReportedMessage {
        group_id: GROUP.to_bytes(),
        device_id: franked.device.to_bytes(),
        accepted_at_ms: AT_MS,
        content: bytes(content),
        tag: bytes(&tag),
    }
}

fn report(about: &Person, messages: Vec<v1::ReportedMessage>) -> v1::ReportRequest {
    v1::ReportRequest {
        idempotency_key: key(),
        account_id: about.certificate.account_id().to_bytes(),
        messages,
        note: "he will not stop".to_owned(),
    }
}

async fn reports(world: &World) -> Vec<admin::Report> {
    let call = Call::ListReports(admin::ListReportsRequest { before_ms: 0, limit: 0, open_only: true });
    match administer(world, call).await.unwrap() {
        Answer::ListReports(list) => list.reports,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_proves_what_was_said_by_whom_and_nothing_else() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let from = bob.attached(3);
    let said = tagged(&world, &alice, b"something vile");
    let request = report(&alice, vec![said.clone(), tagged(&world, &alice, b"and worse")]);
    let first = world.call::<methods::Report>(&from, request.clone()).await.unwrap();
    assert_eq!(world.call::<methods::Report>(&from, request.clone()).await.unwrap(), first, "once");
    let kept = reports(&world).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&kept[0].reporter, &kept[0].accused, &kept[0].group_id),
        (&bob.certificate.account_id().to_bytes(), &alice.certificate.account_id().to_bytes(), &GROUP.to_bytes())
    );
    let call = Call::ShowReport(admin::ShowReportRequest { report_id: first.report_id });
    let Answer::ShowReport(shown) = administer(&world, call).await.unwrap() else { panic!("no report") };
    let evidence = v1::ReportRequest::decode(shown.evidence).unwrap();
    assert_eq!((evidence.messages, evidence.note), (request.messages, request.note));

    // Neither another text, writer, device, group nor time; nor without a tag; nor beside something that is true.
    let forged = [
        v1::ReportedMessage { content: bytes(b"something else"), ..said.clone() },
        v1::ReportedMessage { device_id: bob.certificate.device_id().to_bytes(), ..said.clone() },
        v1::ReportedMessage { group_id: bytes(&[8; 16]), ..said.clone() },
        v1::ReportedMessage { accepted_at_ms: AT_MS + 1, ..said.clone() },
        v1::ReportedMessage { tag: bytes(&[]), ..said.clone() },
        tagged(&world, &bob, b"something vile"),
    ];
    for message in forged {
        let about = report(&alice, vec![said.clone(), message]);
        assert_eq!(code(world.call::<methods::Report>(&from, about).await), Code::InvalidArgument);
    }
    let other = report(&bob, vec![said.clone()]);
    assert_eq!(code(world.call::<methods::Report>(&from, other).await), Code::InvalidArgument);
    for count in [0, 17] {
        let about = report(&alice, vec![said.clone(); count]);
        assert_eq!(code(world.call::<methods::Report>(&from, about).await), Code::InvalidArgument);
    }
    assert_eq!(reports(&world).await.len(), 1);
}

#[tokio::test]
async fn an_account_reports_twenty_times_and_once_every_ten_minutes() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let from = bob.attached(3);
    let again = || report(&alice, vec![tagged(&world, &alice, b"something vile")]);
    for _ in 0..20 {
        world.call::<methods::Report>(&from, again()).await.unwrap();
    }
    world.pass(Duration::from_secs(60));
    let refused = world.call::<methods::Report>(&from, again()).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 540_000));
    world.pass(Duration::from_secs(540));
    world.call::<methods::Report>(&from, again()).await.unwrap();
}
