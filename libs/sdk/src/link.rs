//! Keeping a connection alive, and what runs on it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Event, account, chores,
    client::Inner,
    decoys, outbox, publish, recovery,
    runtime::planted::{Mistake, planted},
    sealed::tokens,
    sync, timers,
    transport::{Connection, Push},
    whisper,
};

/// First pause before connecting again; each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before connecting again.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The same while the gateway goes away that the client is still connected to.
const MAX_MOVE_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a mailbox could not be read on a connection that lives.
const PULL_PAUSE: Duration = Duration::from_secs(1);
/// Time that calls in flight get on a connection that is left in good order.
const LEAVE_GRACE: Duration = Duration::from_secs(3);

/// Where the connection stands.
#[derive(Clone)]
pub(crate) enum Link {
    /// Not asked for.
    Idle,
    /// None at the moment; with the reason if a try has failed.
    Offline(Option<Arc<Error>>),
    /// There is one, attached to this device.
    Online(Connection),
    /// The server does not want us.
    Refused(Arc<Error>),
}

/// Why a connection is left.
enum End {
    Lost,
    /// The gateway goes away at this time, and here is the connection to another one.
    Moved(Session, Instant),
    /// The gateway goes away, and there is no other one.
    Left,
    SessionEnded,
    Shutdown,
}

struct Session {
    connection: Connection,
    pushes: mpsc::Receiver<Push>,
}

/// Starts the task that keeps a connection, unless it runs.
pub(crate) fn start(inner: &Arc<Inner>) {
    let begun = inner.link.send_if_modified(|link| {
        let idle = matches!(link, Link::Idle | Link::Refused(_));
        if idle {
            *link = Link::Offline(None);
        }
        idle
    });
    if begun {
        let inner = inner.clone();
        inner.clone().runtime.spawn(async move {
            tokio::select! {
                biased;
                () = keep(inner.clone()) => {}
                () = timers::run(&inner) => {}
            }
        });
    }
}

/// Waits for the first success or failure.
pub(crate) async fn first_outcome(inner: &Inner) -> Result<(), Error> {
    let mut link = inner.link.subscribe();
    let decided = link.wait_for(|link| !matches!(link, Link::Idle | Link::Offline(None)));
    let link = tokio::select! {
        biased;
        decided = decided => decided.map_err(|_| Error::Interrupted)?.clone(),
        () = inner.runtime.shutdown().cancelled() => return Err(Error::Interrupted),
    };
    match link {
        Link::Online(_) => Ok(()),
        Link::Offline(Some(error)) | Link::Refused(error) => Err(Error::Failed(error)),
        Link::Idle | Link::Offline(None) => Err(Error::Offline),
    }
}

async fn keep(inner: Arc<Inner>) {
    let shutdown = inner.runtime.shutdown().clone();
    let mut failures = 0;
    let mut next: Option<Session> = None;
    while !shutdown.is_cancelled() {
        let session = match next.take() {
            Some(session) => Ok(session),
            None => tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                session = establish(&inner) => session,
            },
        };
        match session {
            Ok(session) => {
                failures = 0;
                next = use_session(&inner, session).await;
            }
            Err(error) if !is_final(&error) => {
                tracing::info!(%error, "not connected");
                inner.link.send_replace(Link::Offline(Some(Arc::new(error))));
                let pause = MAX_PAUSE.min(FIRST_PAUSE * 2u32.pow(failures));
                failures = (failures + 1).min(16);
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(inner.runtime.jittered(pause)) => {}
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                inner.link.send_replace(Link::Refused(error.clone()));
                inner.events.emit(Event::LoginRefused(error));
                return;
            }
        }
    }
    inner.link.send_replace(Link::Idle);
}

/// Whether another try would end the same way until a person has done something about it.
fn is_final(error: &Error) -> bool {
    match error.root() {
        Error::LoginRefused(_)
        | Error::NameTaken(_)
        | Error::NotAdmitted(_)
        | Error::InvalidUsername(_)
        | Error::IdentityChanged(_) => true,
        error @ Error::Connect(_) => !error.is_transient(),
        _ => false,
    }
}

async fn establish(inner: &Inner) -> Result<Session, Error> {
    inner.connector.renew();
    let (connection, pushes) = inner.connector.connect().await?;
    if let Err(error) = account::authenticate(inner, &connection).await {
        connection.close();
        return Err(error);
    }
    // Who is online can be reached. If it fails, the periodic look tries again; writing to others works all the same.
    if let Err(error) = publish::ensure(inner, &connection).await {
        tracing::warn!(%error, "keys not published yet");
    }
    Ok(Session { connection, pushes })
}

/// Works on a connection until it is to be left. Returns its successor, if there is one already.
async fn use_session(inner: &Arc<Inner>, mut session: Session) -> Option<Session> {
    let connection = session.connection.clone();
    inner.link.send_replace(Link::Online(connection.clone()));
    inner.events.emit(Event::Connected);
    let stop = inner.runtime.shutdown().child_token();
    let mailbox = async {
        let end = watch_mailbox(inner, &mut session).await;
        stop.cancel();
        end
    };
    // Joined rather than selected: whatever one has begun, it ends in good order.
    let (end, (), (), (), (), ()) = tokio::join!(
        mailbox,
        outbox::send_all(inner, &connection, &stop),
        sync::acknowledge(inner, &connection, &stop),
        chores::run(inner, &connection, &stop),
        tokens::keep(inner, &connection, &stop),
        decoys::run(inner, &stop),
    );
    drop(session);
    if let End::Moved(successor, until) = end {
        inner.link.send_replace(Link::Online(successor.connection.clone()));
        let within = until - Instant::now();
        inner.runtime.spawn(async move { connection.close_when_idle(within).await });
        return Some(successor);
    }
    if matches!(end, End::SessionEnded) {
        // Fails only with the store, and then the next transaction says so.
        let _ = inner.store.run(|tx| tx.forget_session()).await;
    }
    inner.link.send_replace(Link::Offline(None));
    inner.events.emit(Event::Disconnected);
    match end {
        End::Shutdown => connection.close_when_idle(LEAVE_GRACE).await,
        End::Left => inner.runtime.spawn(async move { connection.close_when_idle(LEAVE_GRACE).await }),
        _ => connection.close(),
    }
    None
}

/// Begins to connect to another gateway, while the connection to the one that goes away is still in use.
fn move_on(inner: &Arc<Inner>, until: Instant) -> oneshot::Receiver<Session> {
    let (mut moved, successor) = oneshot::channel();
    let task = inner.clone();
    inner.runtime.spawn(async move {
        let session = tokio::select! {
            biased;
            () = moved.closed() => return,
            session = elsewhere(&task, until) => session,
        };
        if let Some(Err(unwanted)) = session.map(|session| moved.send(session)) {
            unwanted.connection.close();
        }
    });
    successor
}

/// A connection that replaces one which ends at `until`. Where there is but one gateway there is none until then.
async fn elsewhere(inner: &Inner, until: Instant) -> Option<Session> {
    let mut pause = FIRST_PAUSE;
    loop {
        match tokio::time::timeout_at(until, establish(inner)).await {
            Ok(Ok(session)) => return Some(session),
            Ok(Err(error)) if is_final(&error) => return None,
            Ok(Err(error)) => tracing::info!(%error, "no other gateway yet"),
            Err(_) => return None,
        }
        tokio::time::sleep(inner.runtime.jittered(pause)).await;
        pause = MAX_MOVE_PAUSE.min(pause * 2);
    }
}

/// Takes in what comes, until the connection is to be left.
async fn watch_mailbox(inner: &Arc<Inner>, session: &mut Session) -> End {
    let connection = &session.connection;
    let shutdown = inner.runtime.shutdown();
    // The first look is due at once: whatever came while there was no connection.
    let mut due = Instant::now();
    let mut moving = None;
    let mut open = true;
    loop {
        // A successor that is on its way is there sooner than another one.
        if !open && moving.is_none() {
            return End::Lost;
        }
        let done = tokio::select! {
            biased;
            () = shutdown.cancelled() => return End::Shutdown,
            end = moved(&mut moving) => return end,
            _ = connection.closed(), if open => {
                open = false;
                Ok(())
            }
            push = session.pushes.recv(), if open => match push {
                None => {
                    open = false;
                    Ok(())
                }
                Some(Push::Drain(within)) => {
                    let until = Instant::now() + within;
                    moving.get_or_insert_with(|| (move_on(inner, until), until));
                    Ok(())
                }
                Some(Push::SessionEnded) => return End::SessionEnded,
                Some(Push::PullAgain) => sync::pull(inner, connection).await,
                Some(Push::Mailbox(event)) => sync::on_mailbox(inner, connection, event).await,
                Some(Push::Relayed(event)) => {
                    whisper::hear(inner, event).await;
                    Ok(())
                }
                Some(Push::KeyPackageLow(event)) => publish::refill(inner, connection, event).await,
            },
            () = tokio::time::sleep_until(due), if open => {
                due = Instant::now() + inner.sync_every;
                look(inner, connection, shutdown).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "mailbox");
            due = due.min(Instant::now() + PULL_PAUSE);
        }
    }
}

/// Waits for the successor that [`move_on`] brings; for ever if there is none to come.
async fn moved(moving: &mut Option<(oneshot::Receiver<Session>, Instant)>) -> End {
    match moving {
        Some((successor, until)) => successor.await.map_or(End::Left, |session| End::Moved(session, *until)),
        None => std::future::pending().await,
    }
}

/// The periodic look: mailbox, then stock of keys and recovery bundle. Others reach this device by its keys, but it need not wait for them.
async fn look(inner: &Inner, connection: &Connection, shutdown: &CancellationToken) -> Result<(), Error> {
    if !planted(Mistake::LooksWithoutPull) {
        sync::pull(inner, connection).await?;
    }
    inner.ack_wake.notify_one();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        kept = keep_reachable(inner, connection) => kept,
    }
}

/// What others, and the person who has lost every device, reach this account by.
async fn keep_reachable(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    publish::ensure(inner, connection).await?;
    recovery::refresh(inner, connection).await
}
