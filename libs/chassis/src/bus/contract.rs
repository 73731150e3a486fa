//! What every bus does; run by the tests of each implementation.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Bus, BusError};

const WAIT: Duration = Duration::from_secs(5);

/// Panics where `bus` departs from the contract. `scope` keeps the subjects of concurrent runs apart.
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "test code shared between crates"
)]
pub async fn check(bus: Arc<dyn Bus>, scope: &str) {
    no_responders(&*bus, scope).await;
    requests_are_answered(bus.clone(), scope).await;
    one_answer_per_group(bus.clone(), scope).await;
    silence_times_out(&*bus, scope).await;
    everyone_hears_a_publish(&*bus, scope).await;
    closed_subscriptions_give_what_they_hold(&*bus, scope).await;
}

async fn no_responders(bus: &dyn Bus, scope: &str) {
    let error = bus.request(format!("{scope}.nobody"), Bytes::new(), WAIT).await;
    assert!(matches!(error, Err(BusError::NoResponders(_))), "{error:?}");
}

#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]
async fn requests_are_answered(bus: Arc<dyn Bus>, scope: &str) {
    let subject = format!("{scope}.echo");
    let mut served = bus.subscribe(subject.clone(), Some("echo".into())).await.unwrap();
    let answers = bus.clone();
    let server = tokio::spawn(async move {
        for _ in 0..20 {
            let call = served.next().await.unwrap();
            answers.publish(call.reply.unwrap(), call.payload).await.unwrap();
        }
    });
    for n in 0..20u8 {
        let answer = bus.request(subject.clone(), vec![n; 300].into(), WAIT).await.unwrap();
        assert_eq!(answer, vec![n; 300]);
    }
    server.await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn one_answer_per_group(bus: Arc<dyn Bus>, scope: &str) {
    let subject = format!("{scope}.group");
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(bus.subscribe(subject.clone(), Some("g".into())).await.unwrap());
    }
    for n in 0..30u8 {
        bus.publish(subject.clone(), vec![n].into()).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let (first, rest) = members.split_first_mut().unwrap();
        let (second, third) = rest.split_first_mut().unwrap();
        let delivery = tokio::select! {
            delivery = first.next() => delivery,
            delivery = second.next() => delivery,
            delivery = third[0].next() => delivery,
            () = tokio::time::sleep(WAIT) => panic!("only {} of 30 arrived", seen.len()),
        };
        seen.push(delivery.unwrap().payload[0]);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<u8>>(), "each message goes to one member");
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn silence_times_out(bus: &dyn Bus, scope: &str) {
    let subject = format!("{scope}.silent");
    let _silent = bus.subscribe(subject.clone(), None).await.unwrap();
    let error = bus.request(subject, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(error, Err(BusError::Timeout(_))), "{error:?}");
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn everyone_hears_a_publish(bus: &dyn Bus, scope: &str) {
    let subject = format!("{scope}.all");
    let mut one = bus.subscribe(subject.clone(), None).await.unwrap();
    let mut two = bus.subscribe(subject.clone(), None).await.unwrap();
    bus.publish(subject, "x".into()).await.unwrap();
    assert_eq!(tokio::time::timeout(WAIT, one.next()).await.unwrap().unwrap().payload, "x");
    assert_eq!(tokio::time::timeout(WAIT, two.next()).await.unwrap().unwrap().payload, "x");
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn closed_subscriptions_give_what_they_hold(bus: &dyn Bus, scope: &str) {
    let subject = format!("{scope}.closing");
    let mut closing = bus.subscribe(subject.clone(), Some("q".into())).await.unwrap();
    let mut witness = bus.subscribe(subject.clone(), None).await.unwrap();
    bus.publish(subject.clone(), "before".into()).await.unwrap();
    tokio::time::timeout(WAIT, witness.next()).await.unwrap().unwrap();
    closing.close().await;
    assert_eq!(tokio::time::timeout(WAIT, closing.next()).await.unwrap().unwrap().payload, "before");
    assert!(tokio::time::timeout(WAIT, closing.next()).await.unwrap().is_none());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test]
    async fn the_local_bus_keeps_the_contract() {
        super::check(Arc::new(crate::bus::LocalBus::default()), "t").await;
    }
}
