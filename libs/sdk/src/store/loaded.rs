//! Groups that are kept loaded from one transaction to the next: loading one of thousands of members takes longer than all
//! else that is done with it.
//!
//! A loaded group is as the database is. So it goes with whatever may have made it otherwise: a transaction or an attempt
//! that is rolled back, an operation that has failed, and two that have had it at the same time.

use std::{
    cell::RefCell,
    collections::HashSet,
    ops::{Deref, DerefMut},
};

use qpc_crypto::Conversation;
use qpc_wire::GroupId;

use super::Tx;
use crate::Error;

/// Groups that are kept. One of 2,000 members is some megabytes.
const MAX_LOADED: usize = 4;

/// The groups of a store, those last used at the end; taken out by a transaction, and brought back by its success.
#[derive(Default)]
pub(super) struct Loaded {
    groups: Vec<Conversation>,
    /// Lent to somebody.
    lent: HashSet<GroupId>,
    /// Lent twice, or written to beside who has it.
    spoiled: HashSet<GroupId>,
    /// Counts what was rolled back.
    generation: u64,
}

impl Loaded {
    fn take(&mut self, id: GroupId) -> Option<Conversation> {
        let at = self.groups.iter().position(|group| group.group_id() == id)?;
        Some(self.groups.remove(at))
    }

    fn bring_back(&mut self, group: Conversation, generation: u64) {
        let id = group.group_id();
        self.lent.remove(&id);
        if self.spoiled.remove(&id) || generation != self.generation {
            return;
        }
        if self.groups.len() == MAX_LOADED {
            self.groups.remove(0);
        }
        self.groups.push(group);
    }

    /// What is loaded may be ahead of the database.
    pub(super) fn forget_all(&mut self) {
        self.groups.clear();
        self.generation += 1;
    }

    fn forget(&mut self, id: GroupId) {
        drop(self.take(id));
        if self.lent.contains(&id) {
            self.spoiled.insert(id);
        }
    }
}

/// A group in a transaction.
pub(crate) struct Group<'a> {
    group: Option<Conversation>,
    /// Where it goes back to; none when it must not.
    home: Option<(&'a RefCell<Loaded>, u64)>,
    id: GroupId,
}

impl Group<'_> {
    /// The group, which will not be kept.
    pub(crate) fn into_inner(mut self) -> Conversation {
        let group = self.group.take();
        self.spoil();
        // Taken by nobody else: this is the only way, and it takes the value itself.
        #[allow(clippy::expect_used, reason = "see above")]
        group.expect("a group until it is taken")
    }

    /// An operation has failed: what it has left in memory may not be what is stored.
    pub(crate) fn spoil(&mut self) {
        if let Some((home, _)) = self.home.take() {
            let mut home = home.borrow_mut();
            home.lent.remove(&self.id);
            home.spoiled.remove(&self.id);
        }
    }
}

impl Deref for Group<'_> {
    type Target = Conversation;

    #[allow(clippy::expect_used, reason = "only into_inner takes it, and it takes the value itself")]
    fn deref(&self) -> &Conversation {
        self.group.as_ref().expect("a group until it is taken")
    }
}

impl DerefMut for Group<'_> {
    #[allow(clippy::expect_used, reason = "only into_inner takes it, and it takes the value itself")]
    fn deref_mut(&mut self) -> &mut Conversation {
        self.group.as_mut().expect("a group until it is taken")
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if let (Some(group), Some((home, generation))) = (self.group.take(), self.home.take()) {
            home.borrow_mut().bring_back(group, generation);
        }
    }
}

impl Tx<'_> {
    /// A group as it is stored; none when it is not there.
    pub(crate) fn find_group(&self, id: GroupId) -> Result<Option<Group<'_>>, Error> {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.lent.contains(&id) {
            // Whoever comes last would bring back what the other has changed.
            loaded.spoiled.insert(id);
            drop(loaded);
            let group = Conversation::load(&self.mls(), id)?;
            return Ok(group.map(|group| Group { group: Some(group), home: None, id }));
        }
        let (known, generation) = (loaded.take(id), loaded.generation);
        drop(loaded);
        let Some(group) = known.map_or_else(|| Conversation::load(&self.mls(), id), |group| Ok(Some(group)))? else {
            return Ok(None);
        };
        self.loaded.borrow_mut().lent.insert(id);
        Ok(Some(Group { group: Some(group), home: Some((&self.loaded, generation)), id }))
    }

    /// The state of a group was written otherwise than through what is loaded.
    pub(crate) fn forget_loaded(&self, id: GroupId) {
        self.loaded.borrow_mut().forget(id);
    }
}
