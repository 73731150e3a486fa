//! The rendezvous of a new device and one of its account: the one offers, the other answers, both in the cache. Nothing of
//! it is durable; a link that was lost is begun anew.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_chassis::{
    cache::Cache,
    limits::{Limit, Limited, Limits, Rate},
    run::Deps,
};

use crate::{Config, domain::link::LinkId, error::Error};

/// Life of an offer and its answer, milliseconds.
const LIFETIME_MS: u64 = 10 * 60 * 1000;
/// Offers of all, who get as many again in the time that one lives: bounds what strangers put into the cache to some
/// 160 MiB.
const OFFERS: u64 = 10_000;

/// See the module.
pub(crate) struct Links {
    cache: Arc<dyn Cache>,
    limits: Limits,
    per_address: Limit,
    of_all: Limit,
}

impl Links {
    pub(crate) fn new(deps: &Deps, config: &Config) -> Self {
        Self {
            cache: deps.cache.clone(),
            limits: Limits::new(deps),
            per_address: Limit::new("link-address", config.links_per_address),
            of_all: Limit::new("link-all", Rate::new(OFFERS, OFFERS, Duration::from_millis(LIFETIME_MS))),
        }
    }

    /// Keeps an offer; returns how long it lives, milliseconds. A repetition is free and finds the offer as it is.
    pub(crate) async fn offer(
        &self,
        id: LinkId,
        offer: &Bytes,
        address_hash: &[u8],
        now_ms: u64,
    ) -> Result<u64, Error> {
        let stored = match self.stored(id, now_ms).await? {
            Some(stored) => stored,
            None => {
                self.admit(address_hash).await?;
                let new = Offer { expires_ms: now_ms + LIFETIME_MS, bytes: offer.to_vec() };
                let life = Duration::from_millis(LIFETIME_MS);
                let kept = self.cache.set_new(offer_key(id), new.to_value(), life).await.map_err(Error::Links)?;
                Offer::parse(&kept).ok_or(Error::UnknownLink)?
            }
        };
        if stored.bytes == *offer { Ok(stored.expires_ms.saturating_sub(now_ms)) } else { Err(Error::LinkTaken) }
    }

    /// The offer with this id.
    pub(crate) async fn fetch_offer(&self, id: LinkId, now_ms: u64) -> Result<Vec<u8>, Error> {
        Ok(self.stored(id, now_ms).await?.ok_or(Error::UnknownLink)?.bytes)
    }

    /// Keeps the answer to an offer, unless another one stands.
    pub(crate) async fn answer(&self, id: LinkId, answer: &Bytes, now_ms: u64) -> Result<(), Error> {
        let offer = self.stored(id, now_ms).await?.ok_or(Error::UnknownLink)?;
        let left = Duration::from_millis(offer.expires_ms.saturating_sub(now_ms));
        let value = hex::encode(answer);
        let kept = self.cache.set_new(answer_key(id), value.clone(), left).await.map_err(Error::Links)?;
        if kept == value { Ok(()) } else { Err(Error::LinkTaken) }
    }

    /// The answer to an offer; empty while there is none.
    pub(crate) async fn fetch_answer(&self, id: LinkId, now_ms: u64) -> Result<Vec<u8>, Error> {
        self.stored(id, now_ms).await?.ok_or(Error::UnknownLink)?;
        let answer = self.value(answer_key(id)).await?.unwrap_or_default();
        hex::decode(answer).map_err(|_| Error::UnknownLink)
    }

    async fn stored(&self, id: LinkId, now_ms: u64) -> Result<Option<Offer>, Error> {
        let value = self.value(offer_key(id)).await?;
        Ok(value.and_then(|value| Offer::parse(&value)).filter(|offer| now_ms < offer.expires_ms))
    }

    async fn value(&self, key: String) -> Result<Option<String>, Error> {
        Ok(self.cache.get_many(vec![key]).await.map_err(Error::Links)?.into_iter().next().flatten())
    }

    /// Counts a new offer, or refuses it. What one address makes too much is not at the cost of all.
    async fn admit(&self, address_hash: &[u8]) -> Result<(), Limited> {
        let address = (!address_hash.is_empty()).then(|| self.per_address.one(&[address_hash])).flatten();
        self.limits.admit("offers of links", [address, self.of_all.one(&[])]).await
    }
}

fn offer_key(id: LinkId) -> String {
    format!("link:offer:{}", hex::encode(id))
}

fn answer_key(id: LinkId) -> String {
    format!("link:answer:{}", hex::encode(id))
}

/// An offer as the cache has it.
struct Offer {
    /// Unix milliseconds. The cache ends entries too, but tells nobody when.
    expires_ms: u64,
    bytes: Vec<u8>,
}

impl Offer {
    fn to_value(&self) -> String {
        format!("{}:{}", self.expires_ms, hex::encode(&self.bytes))
    }

    fn parse(value: &str) -> Option<Self> {
        let (expires_ms, bytes) = value.split_once(':')?;
        Some(Self { expires_ms: expires_ms.parse().ok()?, bytes: hex::decode(bytes).ok()? })
    }
}
