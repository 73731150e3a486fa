//! Reports are kept when they prove what they say, and only then.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use qpc_crypto::{
    AccountKey, DeviceCertificate, FrankingKey,
    franking::{self, Franked, commitment},
};
use qpc_wire::{
    Code, GroupId,
    admin::v1 as admin,
    methods,
    v1::{self, administer_request::Call, administer_response::Answer},
};

use crate::{
    admin::administer,
    deletion,
    world::{Person, World, bytes, code, connection, key, rng},
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
    v1::ReportedMessage {
        group_id: GROUP.to_bytes(),
        device_id: franked.device.to_bytes(),
        accepted_at_ms: AT_MS,
        content: bytes(content),
        tag: tag(world, &franked),
        certificate: bytes(&[]),
    }
}

fn tag(world: &World, franked: &Franked) -> Bytes {
    bytes(&FrankingKey::from_bytes(&world.deps.secrets.derive("delivery/franking")).tag(franked))
}

/// A content with the signature that a person's device puts under it for a group.
fn signed(by: &Person, group: GroupId, content: &[u8]) -> Vec<u8> {
    franking::with_signature(content, &franking::sign(&by.device, group, content))
}

/// Something that came to the group without saying by whom, tagged so, and said to be of a person.
fn anonymous(world: &World, by: &Person, content: &[u8], at_ms: u64) -> v1::ReportedMessage {
    v1::ReportedMessage {
        accepted_at_ms: at_ms,
        tag: tag(world, &Franked::by_nobody(GROUP, at_ms, commitment(content))),
        certificate: bytes(&by.certificate.to_bytes()),
        ..tagged(world, by, content)
    }
}

/// A sealed message of a person.
fn sealed(world: &World, by: &Person, content: &[u8]) -> v1::ReportedMessage {
    anonymous(world, by, &signed(by, GROUP, content), AT_MS)
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
async fn a_report_of_a_sealed_message_proves_who_signed_it_and_nothing_else() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let from = bob.attached(3);
    let said = sealed(&world, &alice, b"something vile");
    world.call::<methods::Report>(&from, report(&alice, vec![said.clone()])).await.unwrap();
    let both = vec![said.clone(), tagged(&world, &alice, b"and by name")];
    world.call::<methods::Report>(&from, report(&alice, both)).await.unwrap();
    let verdicts: Vec<_> = reports(&world).await.into_iter().map(|report| report.verdict).collect();
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().any(|verdict| verdict.starts_with("signed by a device of the accused and sealed")));
    assert!(verdicts.iter().any(|verdict| verdict.starts_with("partly sent by the accused")));

    let vile = said.content.clone();
    let another = signed(&alice, GROUP, b"something else");
    let moved = [&vile[..vile.len() - 64], &another[another.len() - 64..]].concat();
    let second = alice.another_device();
    let own_word = DeviceCertificate::issue(&AccountKey::generate(&mut rng()), &alice.device.public(), 1);
    let named = tagged(&world, &alice, &vile);
    let by_bob = signed(&bob, GROUP, b"something vile");
    let forged = [
        ("another text", v1::ReportedMessage { content: bytes(&another), ..said.clone() }),
        ("unsigned", anonymous(&world, &alice, b"something vile", AT_MS)),
        ("the signature of another message", anonymous(&world, &alice, &moved, AT_MS)),
        ("signed by somebody else", anonymous(&world, &alice, &by_bob, AT_MS)),
        ("signed for another group", anonymous(&world, &alice, &signed(&alice, GroupId([8; 16]), b"x"), AT_MS)),
        ("another group", v1::ReportedMessage { group_id: bytes(&[8; 16]), ..said.clone() }),
        ("another time", v1::ReportedMessage { accepted_at_ms: AT_MS + 1, ..said.clone() }),
        (
            "another device",
            v1::ReportedMessage { device_id: second.certificate.device_id().to_bytes(), ..said.clone() },
        ),
        ("a device that was never let in", sealed(&world, &second, b"something vile")),
        (
            "somebody else's certificate",
            v1::ReportedMessage { certificate: bytes(&bob.certificate.to_bytes()), ..said.clone() },
        ),
        (
            "a certificate of another account",
            v1::ReportedMessage { certificate: bytes(&own_word.to_bytes()), ..said.clone() },
        ),
        ("no certificate", v1::ReportedMessage { certificate: bytes(&[]), ..said.clone() }),
        ("half a certificate", v1::ReportedMessage { certificate: said.certificate.slice(..100), ..said.clone() }),
        ("no tag", v1::ReportedMessage { tag: bytes(&[]), ..said.clone() }),
        ("the tag of a named message", v1::ReportedMessage { tag: named.tag.clone(), ..said.clone() }),
        ("the tag of nobody for a named message", v1::ReportedMessage { tag: said.tag.clone(), ..named.clone() }),
        ("of another account", sealed(&world, &bob, b"something vile")),
    ];
    for (what, message) in forged {
        let about = report(&alice, vec![said.clone(), message]);
        assert_eq!(code(world.call::<methods::Report>(&from, about).await), Code::InvalidArgument, "{what}");
    }
    let other = report(&bob, vec![said.clone()]);
    assert_eq!(code(world.call::<methods::Report>(&from, other).await), Code::InvalidArgument);
    // Its tag names account and device of zeros, who have said nothing.
    let nobodys = v1::ReportedMessage { device_id: bytes(&[0; 16]), certificate: bytes(&[]), ..said.clone() };
    let nobody = v1::ReportRequest { account_id: bytes(&[0; 16]), ..report(&alice, vec![nobodys]) };
    assert_eq!(code(world.call::<methods::Report>(&from, nobody).await), Code::InvalidArgument);
    // That it is signed takes nothing from what was sent by name.
    world.call::<methods::Report>(&from, report(&alice, vec![named])).await.unwrap();
    assert_eq!(reports(&world).await.len(), 3);
}

/// The key of a device may come into other hands, which need no session to send sealed.
#[tokio::test]
async fn a_device_signs_for_its_account_until_it_is_revoked_or_the_account_is_gone() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let stolen = alice.another_device();
    world.log_in(&connection(4), &stolen).await.unwrap();
    let (from, now) = (bob.attached(3), world.deps.runtime.now_ms());
    let reported = async |by: &Person, at_ms| {
        let said = anonymous(&world, by, &signed(by, GROUP, b"something vile"), at_ms);
        world.call::<methods::Report>(&from, report(&alice, vec![said])).await
    };
    reported(&stolen, now + 1).await.unwrap();
    let device_id = stolen.certificate.device_id().to_bytes();
    let revoke = v1::RevokeDeviceRequest { idempotency_key: key(), device_id };
    world.call::<methods::RevokeDevice>(&alice.attached(5), revoke).await.unwrap();
    reported(&stolen, now).await.unwrap();
    assert_eq!(code(reported(&stolen, now + 1).await), Code::InvalidArgument);

    reported(&alice, now + 1).await.unwrap();
    let delete = deletion::request(&alice.attached(5), &alice);
    world.call::<methods::DeleteAccount>(&alice.attached(5), delete).await.unwrap();
    for by in [&alice, &stolen] {
        reported(by, now).await.unwrap();
        assert_eq!(code(reported(by, now + 1).await), Code::InvalidArgument);
    }
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
