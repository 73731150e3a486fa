//! The bus of the embedded server: the same encoded bytes over channels in one process.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Bus, BusError, Delivery, SUBSCRIPTION_CAPACITY, Subscription};

/// See the module. Clones share the bus.
#[derive(Clone)]
pub struct LocalBus(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    next: AtomicU64,
    /// Of its own, since a counter that a request moves twice would always choose the same of two members.
    turn: AtomicU64,
    doubt: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    subjects: HashMap<String, Vec<Subscriber>>,
    inboxes: HashMap<String, oneshot::Sender<Bytes>>,
}

struct Subscriber {
    id: u64,
    queue_group: Option<String>,
    sender: mpsc::Sender<Delivery>,
}

impl Default for LocalBus {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            next: AtomicU64::default(),
            turn: AtomicU64::default(),
            doubt: watch::Sender::default(),
        }))
    }
}

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives `delivery` to every plain subscriber and one member of each group. Returns how many were addressed.
    fn deliver(&self, subject: &str, delivery: &Delivery) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let targets = self.with(|state| match state.subjects.get(subject) {
            Some(subscribers) => choose(subscribers, turn),
            None => Vec::new(),
        });
        for target in &targets {
            if target.try_send(delivery.clone()).is_err() {
                self.doubt.send_modify(|count| *count += 1);
            }
        }
        targets.len()
    }
}

fn choose(subscribers: &[Subscriber], turn: usize) -> Vec<mpsc::Sender<Delivery>> {
    let mut groups: Vec<&str> = Vec::new();
    let mut targets = Vec::new();
    for subscriber in subscribers {
        let Some(group) = subscriber.queue_group.as_deref() else {
            targets.push(subscriber.sender.clone());
            continue;
        };
        if groups.contains(&group) {
            continue;
        }
        groups.push(group);
        let members: Vec<_> = subscribers.iter().filter(|other| other.queue_group.as_deref() == Some(group)).collect();
        if let Some(member) = members.get(turn % members.len().max(1)) {
            targets.push(member.sender.clone());
        }
    }
    targets
}

impl Bus for LocalBus {
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>> {
        Box::pin(async move {
            let inbox = format!("_inbox.{}", self.0.next.fetch_add(1, Ordering::Relaxed));
            let (sender, receiver) = oneshot::channel();
            self.0.with(|state| state.inboxes.insert(inbox.clone(), sender));
            let _remove = RemoveInbox { shared: &self.0, inbox: &inbox };
            if self.0.deliver(&subject, &Delivery { payload, reply: Some(inbox.clone()) }) == 0 {
                return Err(BusError::NoResponders(subject));
            }
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(BusError::Timeout(subject)),
            }
        })
    }

    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>> {
        if let Some(inbox) = self.0.with(|state| state.inboxes.remove(&subject)) {
            // A requester that has given up is no error of the one who answers.
            let _ = inbox.send(payload);
        } else {
            self.0.deliver(&subject, &Delivery { payload, reply: None });
        }
        Box::pin(async { Ok(()) })
    }

    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>> {
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_CAPACITY);
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.with(|state| {
            state.subjects.entry(subject.clone()).or_default().push(Subscriber { id, queue_group, sender });
        });
        let subscription: Box<dyn Subscription> =
            Box::new(LocalSubscription { shared: self.0.clone(), subject, id, receiver });
        Box::pin(async { Ok(subscription) })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async { Ok(()) })
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.0.doubt.subscribe()
    }
}

struct RemoveInbox<'a> {
    shared: &'a Shared,
    inbox: &'a str,
}

impl Drop for RemoveInbox<'_> {
    fn drop(&mut self) {
        self.shared.with(|state| state.inboxes.remove(self.inbox));
    }
}

struct LocalSubscription {
    shared: Arc<Shared>,
    subject: String,
    id: u64,
    receiver: mpsc::Receiver<Delivery>,
}

impl LocalSubscription {
    fn remove(&self) {
        self.shared.with(|state| {
            if let Some(subscribers) = state.subjects.get_mut(&self.subject) {
                subscribers.retain(|subscriber| subscriber.id != self.id);
                if subscribers.is_empty() {
                    state.subjects.remove(&self.subject);
                }
            }
        });
    }
}

impl Subscription for LocalSubscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(self.receiver.recv())
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.remove();
        Box::pin(async {})
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        self.remove();
    }
}
