//! The end of an account: it leaves its conversations, so that the others see it go, and is deleted at the server. What could
//! not be left goes as the leaves of revoked devices do, by the next commits of those who stay.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_crypto::{Role, mls::Kind, sha256};
use qpc_wire::{Code, GroupId, methods::DeleteAccount, proofs, v1};

use crate::{Error, client::Inner, groups, link, retry, store::Tx};

/// Connections over which the deletion is asked for.
const TRIES: usize = 5;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(500);

/// Deletes the account for good. The password is that of this store: whoever holds an unlocked device has not the right to.
pub(crate) async fn delete(inner: &Arc<Inner>, password: &str) -> Result<(), Error> {
    // Of hashes, so that the time says nothing of how much was right.
    if sha256(&[password.as_bytes()]) != sha256(&[inner.password.as_bytes()]) {
        return Err(Error::WrongPassword);
    }
    inner.connection()?;
    for conversation in inner.store.run(|tx| tx.all_conversations()).await? {
        if !conversation.active {
            continue;
        }
        let id = conversation.id;
        let left = async {
            hand_over(inner, id).await?;
            groups::leave(inner, id).await
        };
        if let Err(error) = left.await {
            tracing::info!(conversation = %id, %error, "not left; others remove the devices");
        }
    }
    ask(inner).await
}

/// Makes somebody else owner of a group that would have none: the highest in rank, then the lowest id.
async fn hand_over(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    let own = inner.identity.account();
    let heir = move |tx: &Tx<'_>| {
        let group = tx.load_current(conversation)?;
        let policy = group.policy()?;
        let others = || group.members().into_iter().map(|member| member.account_id()).filter(|id| *id != own);
        let owned = policy.role(own) == Role::Owner && !others().any(|id| policy.role(id) == Role::Owner);
        let heir = others().max_by_key(|id| (policy.role(*id), Reverse(*id)));
        Ok(heir.filter(|_| owned && policy.kind == Kind::Group))
    };
    match inner.store.run(heir).await? {
        Some(heir) => groups::promote(inner, conversation, heir).await.map(drop),
        None => Ok(()),
    }
}

/// Has the server delete the account, over another connection where one is lost.
async fn ask(inner: &Arc<Inner>) -> Result<(), Error> {
    let account = inner.identity.account();
    let mut failed = Error::Offline;
    for tried in 0..TRIES {
        match link::first_outcome(inner).await {
            // Nobody knows this device any more: the answer was lost, and not the call.
            Err(error) if tried > 0 && matches!(error.root(), Error::LoginRefused(_)) => return Ok(()),
            outcome => outcome?,
        }
        let connection = inner.connection()?;
        // Good for this connection alone, so that another one makes it another call.
        let proof = proofs::delete_account(connection.binding(), &account.0);
        let request = v1::DeleteAccountRequest {
            idempotency_key: inner.idempotency_key().to_bytes(),
            account_proof: Bytes::copy_from_slice(&inner.identity.account_key.sign(&proof)),
        };
        match retry::call::<DeleteAccount>(&inner.runtime, &connection, &request).await {
            Ok(_) => return Ok(()),
            // A session that is over is no verdict either: it may be over because of this.
            Err(error) if error.is_transient() || tried > 0 && error.code() == Some(Code::Unauthenticated) => {
                failed = error.into();
                tokio::time::sleep(inner.runtime.jittered(PAUSE)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed)
}
