//! What people do with groups: founding, adding, removing, leaving, naming, roles, invites, another suite.

pub(crate) mod invite;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message as _;
use qpc_crypto::{
    Conversation, DeviceCertificate, InviteSecret, Policy, Role, Suite,
    mls::{InviteTerms, Kind},
};
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    limits::MAX_ADDS,
    v1::{self, GroupKind},
};

use crate::{
    Error, Event, PeerTrust,
    chores::push_name,
    client::Inner,
    commit::{self, Outcome, Plan},
    content::{Body, MAX_NAME, MAX_NAMED, Naming},
    directory::{self, Person},
    heal, packages, receive,
    store::{ChoreKind, ConversationState, Pending, PendingKind, Tx},
    sync,
    transport::Connection,
};

pub use invite::{Invite, InviteLink};

/// Time after which those who are still to be added are added by themselves, should the program end before.
const ADMIT_AFTER_MS: u64 = 5_000;

/// A member of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// Its name, once the directory has confirmed it.
    pub name: Option<String>,
    /// How far that is believed.
    pub trust: PeerTrust,
    /// What it may do.
    pub role: Role,
    /// Its devices in the group.
    pub devices: Vec<DeviceId>,
}

/// Who is in a conversation, owners first.
pub(crate) fn members(tx: &Tx<'_>, conversation: GroupId) -> Result<Vec<Member>, Error> {
    let group = tx.load_current(conversation)?;
    let policy = group.policy()?;
    let mut devices: BTreeMap<AccountId, Vec<DeviceId>> = BTreeMap::new();
    for member in group.members() {
        devices.entry(member.account_id()).or_default().push(member.device_id());
    }
    let mut members = devices
        .into_iter()
        .map(|(account, devices)| {
            let (name, trust) = (tx.peer_name(account)?, tx.peer_trust(account)?);
            Ok(Member { account, name, trust, role: policy.role(account), devices })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    members.sort_by(|a, b| b.role.cmp(&a.role).then_with(|| a.name.cmp(&b.name)));
    Ok(members)
}

/// Times that a group is founded anew because devices were revoked meanwhile.
const MAX_FOUNDINGS: usize = 3;

/// Founds a group with a name and members. Whoever cannot be reached is an error before anything is done.
pub(crate) async fn create(
    inner: &Arc<Inner>,
    name: &str,
    usernames: &[String],
    suite: Suite,
) -> Result<GroupId, Error> {
    check_name(name)?;
    let connection = inner.connection()?;
    for _ in 0..MAX_FOUNDINGS {
        let (people, devices) = reach(inner, &connection, usernames).await?;
        let packages = packages::fetch(inner, &connection, &devices, &people, suite).await?;
        let id = GroupId(inner.runtime.random());
        let policy = Policy::group(id, inner.identity.account());
        let members = people.iter().map(|(username, person)| (person.account, username.clone()));
        let naming = Naming { name: name.to_owned(), members: members.take(MAX_NAMED).collect() };
        let founding = Founding::Begin { policy, naming: Some(naming) };
        if let Founded::Late = found(inner, &connection, id, founding, packages, suite).await? {
            continue;
        }
        inner.events.emit(Event::ConversationAdded(id));
        inner.outbox_wake.notify_one();
        return Ok(id);
    }
    Err(Error::TooManyRaces)
}

/// Founds a group of this device and those that the packages are of; those that one commit cannot add come by further
/// ones. A founding that another one has made needless is told by the conversation there is.
pub(crate) async fn found(
    inner: &Arc<Inner>,
    connection: &Connection,
    id: GroupId,
    founding: Founding,
    packages: Vec<(DeviceId, Vec<u8>)>,
    suite: Suite,
) -> Result<Founded, Error> {
    let conversation = match &founding {
        Founding::Begin { policy, .. } => policy.conversation,
        Founding::CarryOn { conversation, .. } => *conversation,
    };
    {
        let _turn = inner.turn.lock().await;
        // Answers what is open from an earlier try.
        sync::pull_in_turn(inner, connection).await?;
        let pending = keep_founding(inner, id, founding, packages, suite).await?;
        match commit::submit(inner, connection, pending).await? {
            Outcome::Accepted(_) => {}
            Outcome::Exists(existing) => return Ok(Founded::Exists(existing)),
            Outcome::Replaced(successor) => return Ok(Founded::Exists(successor)),
            Outcome::Late(_) | Outcome::Again => return Ok(Founded::Late),
            Outcome::Forked => return Err(Error::TooManyRaces),
        }
    }
    admit(inner, connection, conversation).await?;
    Ok(Founded::Here)
}

/// What became of a founding.
pub(crate) enum Founded {
    /// It was accepted.
    Here,
    /// There is this group already.
    Exists(GroupId),
    /// The group that was to be carried on has changed meanwhile, or devices were revoked.
    Late,
}

/// What a group is founded for.
pub(crate) enum Founding {
    /// A new conversation, with its name if it has one.
    Begin { policy: Policy, naming: Option<Naming> },
    /// One that there is, whose group is this.
    CarryOn { conversation: GroupId, old: GroupId },
}

/// Makes the group and its first commit, and keeps both with the request that will carry them.
async fn keep_founding(
    inner: &Inner,
    id: GroupId,
    founding: Founding,
    packages: Vec<(DeviceId, Vec<u8>)>,
    suite: Suite,
) -> Result<Pending, Error> {
    let (identity, key) = (inner.identity.clone(), inner.idempotency_key());
    inner
        .store
        .run(move |tx| {
            let (mut packages, mls) = (packages, tx.mls());
            let mut named = None;
            let policy = match founding {
                Founding::Begin { policy, naming } => {
                    named = naming;
                    policy
                }
                Founding::CarryOn { conversation, old } => {
                    let group = tx.load_current(conversation)?;
                    if group.group_id() != old {
                        return Err(Error::TooManyRaces);
                    }
                    // As they are now, and nobody who has gone meanwhile.
                    let members = devices(&group);
                    packages.retain(|(device, _)| members.contains(device));
                    let mut policy = group.policy()?;
                    policy.predecessor = Some(old);
                    policy
                }
            };
            let (device_key, certificate) = (&identity.device_key, &identity.certificate);
            let mut group = Conversation::create(&mls, device_key, certificate, suite, id, &policy)?;
            let group_info = group.group_info(&mls, device_key)?;
            // What one commit cannot add waits in the store, so that no crash forgets it.
            let later = packages.split_off(packages.len().min(MAX_ADDS));
            tx.put_admissions(policy.conversation, &later)?;
            let update = packages.is_empty();
            let plan = Plan { add: packages, update, ..Plan::default() };
            let made = commit::make(tx, &identity, &mut group, plan)?;
            let kind = match policy.kind {
                Kind::Direct => GroupKind::Direct,
                Kind::Group => GroupKind::Group,
                Kind::Own => GroupKind::Own,
            };
            let request = v1::CreateGroupRequest {
                idempotency_key: key.to_bytes(),
                kind: kind.into(),
                group_info: group_info.into(),
                first_commit: Some(commit::bundle(made)),
            };
            if policy.predecessor.is_none() {
                tx.put_group(&group, &identity, ConversationState::Creating)?;
            }
            if let Some(naming) = named {
                let content = receive::told_by(tx, &identity, Body::Name(naming.clone()));
                tx.set_name(policy.conversation, &naming.name, content.sent_at_ms)?;
                receive::push(tx, policy.conversation, &content)?;
            }
            let pending = Pending {
                group: id,
                conversation: policy.conversation,
                kind: PendingKind::Create,
                request: request.encode_to_vec(),
            };
            tx.insert_pending(&pending)?;
            Ok(pending)
        })
        .await
}

/// Everybody of these names, once, and all their devices together with this account's others.
async fn reach(
    inner: &Inner,
    connection: &Connection,
    usernames: &[String],
) -> Result<(Vec<(String, Person)>, Vec<DeviceCertificate>), Error> {
    let mut people = Vec::with_capacity(usernames.len());
    for username in usernames.iter().collect::<BTreeSet<_>>() {
        if *username == inner.identity.username {
            return Err(Error::OwnName);
        }
        people.push((username.clone(), directory::resolve(inner, connection, username).await?));
    }
    let mut devices: Vec<_> = people.iter().flat_map(|(_, person)| person.devices.clone()).collect();
    devices.extend(directory::own_other_devices(inner, connection).await?);
    Ok((people, devices))
}

/// Adds people to a group, and tells them its name.
pub(crate) async fn add(inner: &Arc<Inner>, conversation: GroupId, usernames: &[String]) -> Result<u64, Error> {
    let connection = inner.connection()?;
    let (people, mut devices) = reach(inner, &connection, usernames).await?;
    let (suite, present) = inner
        .store
        .run(move |tx| {
            let group = tx.load_current(conversation)?;
            let present: BTreeSet<_> = group.members().iter().map(DeviceCertificate::device_id).collect();
            Ok((group.suite(), present))
        })
        .await?;
    devices.retain(|device| !present.contains(&device.device_id()));
    let missing: Vec<_> = people
        .into_iter()
        .filter(|(_, person)| !person.devices.iter().any(|device| present.contains(&device.device_id())))
        .collect();
    let packages = packages::fetch(inner, &connection, &devices, &missing, suite).await?;
    let epoch = add_packages(inner, &connection, conversation, packages).await?;
    let identity = inner.identity.clone();
    inner.store.run(move |tx| push_name(tx, &identity, conversation)).await?;
    inner.outbox_wake.notify_one();
    Ok(epoch)
}

/// Adds devices by their KeyPackages. Those that are in the group by then are left out.
pub(crate) async fn add_packages(
    inner: &Arc<Inner>,
    connection: &Connection,
    conversation: GroupId,
    mut packages: Vec<(DeviceId, Vec<u8>)>,
) -> Result<u64, Error> {
    let later = packages.split_off(packages.len().min(MAX_ADDS));
    let epoch = add_batch(inner, connection, conversation, packages).await?;
    if later.is_empty() {
        return Ok(epoch);
    }
    let keep = move |tx: &Tx<'_>| {
        tx.put_admissions(conversation, &later)?;
        tx.put_chore(conversation, ChoreKind::Admit, ADMIT_AFTER_MS)
    };
    inner.store.run(keep).await?;
    admit(inner, connection, conversation).await?;
    inner.store.run(move |tx| Ok(tx.load_current(conversation)?.epoch())).await
}

/// Adds those who are still to be added, some at a time.
pub(crate) async fn admit(inner: &Arc<Inner>, connection: &Connection, conversation: GroupId) -> Result<(), Error> {
    loop {
        let batch = inner.store.run(move |tx| tx.admissions(conversation, MAX_ADDS)).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let devices: Vec<DeviceId> = batch.iter().map(|(device, _)| *device).collect();
        match add_batch(inner, connection, conversation, batch).await {
            // Whatever is wrong with them, it does not go away, and others wait behind.
            Err(error @ Error::Mls(_)) if !receive::is_ours(&error) => {
                tracing::warn!(%conversation, %error, devices = devices.len(), "not added");
            }
            added => drop(added?),
        }
        inner.store.run(move |tx| tx.remove_admissions(conversation, &devices)).await?;
    }
}

async fn add_batch(
    inner: &Arc<Inner>,
    connection: &Connection,
    conversation: GroupId,
    batch: Vec<(DeviceId, Vec<u8>)>,
) -> Result<u64, Error> {
    let plan = move |_: &Tx<'_>, group: &Conversation| {
        let present: BTreeSet<_> = group.members().iter().map(DeviceCertificate::device_id).collect();
        let add: Vec<_> = batch.iter().filter(|(device, _)| !present.contains(device)).cloned().collect();
        Ok((!add.is_empty()).then(|| Plan { add, ..Plan::default() }))
    };
    commit::change(inner, connection, conversation, Arc::new(plan)).await
}

/// Removes somebody with all devices.
pub(crate) async fn remove(inner: &Arc<Inner>, conversation: GroupId, username: &str) -> Result<u64, Error> {
    let connection = inner.connection()?;
    let account = account_of(inner, username).await?;
    if account == inner.identity.account() {
        return Err(Error::OwnName);
    }
    let name = username.to_owned();
    let plan = move |_: &Tx<'_>, group: &Conversation| {
        let remove = devices_of(group, account);
        if remove.is_empty() {
            return Err(Error::NotAMember(name.clone()));
        }
        Ok(Some(Plan { remove, ..Plan::default() }))
    };
    commit::change(inner, &connection, conversation, Arc::new(plan)).await
}

/// Leaves with all devices of this account: the others are removed, then this one goes.
pub(crate) async fn leave(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    let connection = inner.connection()?;
    let (own, device) = (inner.identity.account(), inner.identity.device());
    let plan = move |_: &Tx<'_>, group: &Conversation| {
        let mut remove = devices_of(group, own);
        remove.retain(|other| *other != device);
        Ok((!remove.is_empty()).then(|| Plan { remove, ..Plan::default() }))
    };
    // Nobody would be left to own it: say so before the others are removed.
    let check = move |tx: &Tx<'_>| {
        let group = tx.load_current(conversation)?;
        let policy = group.policy()?;
        let owns = |account: AccountId| policy.role(account) == Role::Owner;
        let others: Vec<_> =
            group.members().iter().map(DeviceCertificate::account_id).filter(|id| *id != own).collect();
        let last = policy.kind == Kind::Group && owns(own) && !others.is_empty() && !others.into_iter().any(owns);
        if last { Err(Error::LastOwner) } else { Ok(()) }
    };
    inner.store.run(check).await?;
    commit::change(inner, &connection, conversation, Arc::new(plan)).await?;
    commit::leave(inner, &connection, conversation).await?;
    inner.events.emit(Event::Left(conversation));
    Ok(())
}

/// Gives a group another name.
pub(crate) async fn rename(inner: &Inner, conversation: GroupId, name: &str) -> Result<(), Error> {
    check_name(name)?;
    let (identity, name) = (inner.identity.clone(), name.to_owned());
    inner
        .store
        .run(move |tx| {
            let group = tx.load_current(conversation)?;
            let policy = group.policy()?;
            if policy.kind != Kind::Group || policy.role(identity.account()) < Role::Admin {
                return Err(Error::NotAllowed("rename the conversation"));
            }
            let naming = Naming { name: name.clone(), members: Vec::new() };
            let mut content = receive::told_by(tx, &identity, Body::Name(naming));
            // Later than the name that it takes the place of, whatever the clock of who gave that one.
            let before = tx.name(conversation)?.map_or(0, |(_, at_ms)| at_ms);
            content.sent_at_ms = content.sent_at_ms.max(before.saturating_add(1));
            tx.set_name(conversation, &name, content.sent_at_ms)?;
            receive::push(tx, conversation, &content)
        })
        .await?;
    inner.outbox_wake.notify_one();
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.trim().is_empty() {
        return Err(Error::EmptyText);
    }
    if name.len() > MAX_NAME {
        return Err(Error::TextTooLong { len: name.len(), max: MAX_NAME });
    }
    Ok(())
}

/// Gives somebody another role.
pub(crate) async fn set_role(
    inner: &Arc<Inner>,
    conversation: GroupId,
    username: &str,
    role: Role,
) -> Result<u64, Error> {
    let account = account_of(inner, username).await?;
    let name = username.to_owned();
    change_policy(inner, conversation, move |group, policy| {
        if devices_of(group, account).is_empty() {
            return Err(Error::NotAMember(name.clone()));
        }
        let changes = policy.role(account) != role;
        policy.set_role(account, role)?;
        Ok(changes)
    })
    .await
}

/// Makes an account, which is in the group, one of its owners.
pub(crate) async fn promote(inner: &Arc<Inner>, conversation: GroupId, account: AccountId) -> Result<u64, Error> {
    change_policy(inner, conversation, move |_, policy| {
        let changes = policy.role(account) != Role::Owner;
        policy.set_role(account, Role::Owner)?;
        Ok(changes)
    })
    .await
}

/// Makes an invite. Whoever has the link can join until it expires, is used up or revoked.
pub(crate) async fn invite(
    inner: &Arc<Inner>,
    conversation: GroupId,
    expires_ms: u64,
    max_uses: u32,
) -> Result<InviteLink, Error> {
    let secret = InviteSecret::generate(&mut inner.runtime.rng());
    let (key, seed) = (secret.key(), *secret.to_bytes());
    // Before the commit: an invite that is open and that nobody can use would be of no good to anyone.
    inner.store.run(move |tx| tx.put_invite(conversation, &key, &seed)).await?;
    let opened = change_policy(inner, conversation, move |_, policy| {
        policy.add_invite(key, InviteTerms { expires_ms, max_uses })?;
        Ok(true)
    });
    if let Err(error) = opened.await {
        if !error.is_transient() {
            inner.store.run(move |tx| tx.delete_invite(conversation, &key)).await?;
        }
        return Err(error);
    }
    let group = inner.store.run(move |tx| tx.current_group(conversation)).await?;
    Ok(InviteLink { group, secret: seed.into() })
}

/// All invites of a group, with links for those that were made here.
pub(crate) fn invites(tx: &Tx<'_>, conversation: GroupId) -> Result<Vec<Invite>, Error> {
    let group = tx.load_current(conversation)?;
    let policy = group.policy()?;
    policy
        .invites()
        .map(|(key, terms)| {
            let secret = tx.invite_secret(conversation, key)?;
            let link = secret.map(|secret| InviteLink { group: group.group_id(), secret: secret.into() });
            Ok(Invite { key: *key, expires_ms: terms.expires_ms, max_uses: terms.max_uses, link })
        })
        .collect()
}

/// Makes an invite void.
pub(crate) async fn revoke_invite(inner: &Arc<Inner>, conversation: GroupId, key: [u8; 32]) -> Result<u64, Error> {
    let epoch = change_policy(inner, conversation, move |_, policy| Ok(policy.remove_invite(&key))).await?;
    inner.store.run(move |tx| tx.delete_invite(conversation, &key)).await?;
    Ok(epoch)
}

/// Joins a group by an invite.
pub(crate) async fn join(inner: &Arc<Inner>, link: &InviteLink) -> Result<GroupId, Error> {
    let connection = inner.connection()?;
    let _turn = inner.turn.lock().await;
    let group = link.group;
    let known = inner
        .store
        .run(move |tx| match tx.conversation_of(group)? {
            Some(conversation) => Ok(tx.conversation(conversation)?.filter(|info| info.active && !info.stuck)),
            None => Ok(None),
        })
        .await?;
    if let Some(info) = known {
        return Ok(info.id);
    }
    let secret = InviteSecret::from_bytes(&link.secret);
    let conversation = heal::join(inner, &connection, group, Some(&secret)).await?;
    inner.events.emit(Event::ConversationAdded(conversation));
    Ok(conversation)
}

/// Times that a conversation is carried on anew because its group has changed meanwhile.
const MAX_REPLACES: usize = 5;

/// Carries a conversation on in a new group of the same members, with the same roles: of another suite, or because the old
/// group is beyond repair. What was written stays. Returns accounts of which no device could be reached.
pub(crate) async fn replace(
    inner: &Arc<Inner>,
    conversation: GroupId,
    suite: Option<Suite>,
) -> Result<Vec<AccountId>, Error> {
    let connection = inner.connection()?;
    for _ in 0..MAX_REPLACES {
        sync::pull(inner, &connection).await?;
        let (old, members, suite) = inner.store.run(move |tx| staying(tx, conversation, suite)).await?;
        let packages = packages::fetch(inner, &connection, &members, &[], suite).await?;
        let reached: BTreeSet<DeviceId> = packages.iter().map(|(device, _)| *device).collect();
        let id = GroupId(inner.runtime.random());
        match found(inner, &connection, id, Founding::CarryOn { conversation, old }, packages, suite).await? {
            Founded::Here => {}
            Founded::Late => continue,
            Founded::Exists(successor) => {
                // Somebody else was first.
                let _turn = inner.turn.lock().await;
                heal::follow(inner, &connection, conversation, successor).await?;
            }
        }
        let accounts = |of: &dyn Fn(&DeviceCertificate) -> bool| -> BTreeSet<AccountId> {
            members.iter().filter(|member| of(member)).map(DeviceCertificate::account_id).collect()
        };
        let there = accounts(&|member| reached.contains(&member.device_id()));
        let lost: Vec<AccountId> = accounts(&|_| true).difference(&there).copied().collect();
        let identity = inner.identity.clone();
        inner.store.run(move |tx| push_name(tx, &identity, conversation)).await?;
        inner.outbox_wake.notify_one();
        inner.events.emit(Event::Replaced { conversation, suite });
        return Ok(lost);
    }
    Err(Error::TooManyRaces)
}

/// The group of a conversation, its members but this device that stay in it, and the suite that it is to have.
fn staying(
    tx: &Tx<'_>,
    conversation: GroupId,
    suite: Option<Suite>,
) -> Result<(GroupId, Vec<DeviceCertificate>, Suite), Error> {
    let group = tx.load_current(conversation)?;
    let (mut gone, own) = (group.pending_leaves(), group.own_device());
    gone.extend(own);
    gone.extend(tx.revoked()?);
    let members = group.members().into_iter().filter(|member| !gone.contains(&member.device_id())).collect();
    Ok((group.group_id(), members, suite.unwrap_or(group.suite())))
}

fn devices(group: &Conversation) -> BTreeSet<DeviceId> {
    group.members().iter().map(DeviceCertificate::device_id).collect()
}

async fn change_policy(
    inner: &Arc<Inner>,
    conversation: GroupId,
    change: impl Fn(&Conversation, &mut Policy) -> Result<bool, Error> + Send + Sync + 'static,
) -> Result<u64, Error> {
    let connection = inner.connection()?;
    let plan = move |_: &Tx<'_>, group: &Conversation| {
        let mut policy = group.policy()?;
        Ok(change(group, &mut policy)?.then(|| Plan { policy: Some(policy), ..Plan::default() }))
    };
    commit::change(inner, &connection, conversation, Arc::new(plan)).await
}

fn devices_of(group: &Conversation, account: AccountId) -> Vec<DeviceId> {
    let members = group.members();
    members.iter().filter(|member| member.account_id() == account).map(DeviceCertificate::device_id).collect()
}

/// The account of a name, from the pinned ones or the directory.
async fn account_of(inner: &Inner, username: &str) -> Result<AccountId, Error> {
    if username == inner.identity.username {
        return Ok(inner.identity.account());
    }
    let name = username.to_owned();
    if let Some(account) = inner.store.run(move |tx| tx.pinned_account(&name)).await? {
        return Ok(account);
    }
    Ok(directory::resolve(inner, &inner.connection()?, username).await?.account)
}
