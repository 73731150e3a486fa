//! Keys that all gateways of an installation share, so that each of them can take up what another has begun: tickets,
//! address tokens, stateless resets, packets passed on. They are derived from the lines of one file, the first of which is
//! in use while the others are still accepted.

use std::{convert::Infallible, fmt, fs, io, path::Path, sync::Arc};

use chacha20poly1305::{
    ChaCha20Poly1305, Key as AeadKey, KeyInit as _, Nonce, Tag, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, AeadInPlace as _},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use qpc_chassis::{Runtime, run::Deps, runtime::EntropyRng, watched::Watched};
use quinn::crypto::{self, CryptoError, HandshakeTokenKey};
use rand::RngCore as _;
use rustls::server::ProducesTickets;
use sha2::Sha256;

use super::cid::{self, Fresh};
use crate::GatewayError;

/// Lines of the file at the most: the one in use, one to come, those that are still to be accepted.
const MAX_KEYS: usize = 4;
/// Tickets are sealed under a key that changes so often; that of the time before still opens them.
const TICKET_MS: u64 = 6 * 60 * 60 * 1000;
/// Seconds that clients are told a ticket is good for: it lives for one or two times of its key.
const TICKET_LIFETIME: u32 = 6 * 60 * 60;
/// Bytes of the MAC of a packet that is passed on.
pub(super) const MAC: usize = 16;
const NONCE: usize = 24;

type HmacSha256 = Hmac<Sha256>;

/// What is derived from one line.
struct Key {
    reset: HmacSha256,
    cid: HmacSha256,
    relay: HmacSha256,
    token: Hkdf<Sha256>,
    ticket: Hkdf<Sha256>,
}

impl Key {
    /// HKDF-SHA256 (RFC 5869) with a label for each purpose; labels never change.
    fn new(root: &[u8; 32]) -> Self {
        let root = Hkdf::<Sha256>::new(None, root);
        let hmac = |label: &str| {
            <HmacSha256 as hmac::Mac>::new_from_slice(&expand(&root, &[label.as_bytes()]))
                .unwrap_or_else(|_| unreachable!("HMAC takes any key"))
        };
        let hkdf = |label: &str| Hkdf::new(None, &expand(&root, &[label.as_bytes()]));
        Self {
            reset: hmac("edge/stateless-reset"),
            cid: hmac("edge/connection-id"),
            relay: hmac("edge/relay"),
            token: hkdf("edge/address-token"),
            ticket: hkdf("edge/ticket"),
        }
    }

    fn ticket(&self, period: u64) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(AeadKey::from_slice(&expand(&self.ticket, &[&period.to_be_bytes()])))
    }
}

fn expand(from: &Hkdf<Sha256>, info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    // HKDF refuses only outputs above 255 hash lengths.
    let expanded = from.expand_multi_info(info, &mut out);
    debug_assert!(expanded.is_ok());
    out
}

/// See the module.
pub(crate) struct EdgeKeys(Arc<Watched<Vec<Key>>>);

impl fmt::Debug for EdgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeKeys").finish_non_exhaustive()
    }
}

impl EdgeKeys {
    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, GatewayError> {
        let file = path.to_owned();
        let watched = Watched::new(vec![path.to_owned()], move || read(&file).map(|roots| keys_of(&roots)))?;
        Ok(Arc::new(Self(watched)))
    }

    /// Keys of this process alone.
    pub(crate) fn random(runtime: &Runtime) -> Arc<Self> {
        let root = runtime.random();
        let made = Watched::new(Vec::new(), move || Ok::<_, Infallible>(keys_of(&[root])));
        Arc::new(Self(made.unwrap_or_else(|never| match never {})))
    }

    /// Looks at the file until shutdown. One that has become unreadable changes nothing.
    pub(crate) fn watch(&self, deps: &Deps) {
        self.0.watch(deps, "the file of edge keys", |_| {});
    }

    /// Never empty.
    fn keys(&self) -> Arc<Vec<Key>> {
        self.0.current()
    }

    /// The tag that shows that a connection id comes from a gateway of this installation.
    pub(super) fn cid_tag(&self, shown: &[u8]) -> [u8; cid::TAG] {
        let mut tag = [0; cid::TAG];
        if let Some(key) = self.keys().first() {
            tag.copy_from_slice(&key.cid.clone().chain_update(shown).finalize().into_bytes()[..cid::TAG]);
        }
        tag
    }

    /// Whether one of the keys has made the tag of a connection id.
    pub(super) fn knows_cid(&self, shown: &[u8], tag: &[u8]) -> bool {
        self.keys().iter().any(|key| key.has_tagged(shown, tag))
    }

    pub(super) fn relay_mac(&self, message: &[u8]) -> [u8; MAC] {
        let mut mac = [0; MAC];
        if let Some(key) = self.keys().first() {
            mac.copy_from_slice(&key.relay.clone().chain_update(message).finalize().into_bytes()[..MAC]);
        }
        mac
    }

    pub(super) fn knows_relayed(&self, message: &[u8], mac: &[u8]) -> bool {
        mac.len() == MAC
            && self.keys().iter().any(|key| key.relay.clone().chain_update(message).verify_truncated_left(mac).is_ok())
    }
}

impl Key {
    fn has_tagged(&self, shown: &[u8], tag: &[u8]) -> bool {
        tag.len() == cid::TAG && self.cid.clone().chain_update(shown).verify_truncated_left(tag).is_ok()
    }
}

fn keys_of(roots: &[[u8; 32]]) -> Vec<Key> {
    roots.iter().map(Key::new).collect()
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, GatewayError> {
    let failed = |source: io::Error| GatewayError::EdgeKeys { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut roots = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut root = [0; 32];
        hex::decode_to_slice(line, &mut root).map_err(|_| GatewayError::EdgeKeysForm(path.to_owned()))?;
        roots.push(root);
    }
    match roots.len() {
        1..=MAX_KEYS => Ok(roots),
        _ => Err(GatewayError::EdgeKeysForm(path.to_owned())),
    }
}

/// Makes the tokens of stateless resets (RFC 9000 section 10.3). The key is the one that made the connection id, so that a
/// token is the same after the keys were changed.
pub(super) struct ResetKey {
    pub(super) keys: Arc<EdgeKeys>,
    pub(super) fresh: Arc<Fresh>,
}

impl crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        self.fresh.signed(data);
        let keys = self.keys.keys();
        let maker = cid::split(data)
            .and_then(|(shown, tag)| keys.iter().find(|key| key.has_tagged(shown, tag)))
            .or_else(|| keys.first());
        if let Some(key) = maker {
            out.copy_from_slice(&key.reset.clone().chain_update(data).finalize().into_bytes());
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let made = |key: &Key| key.reset.clone().chain_update(data).verify_slice(signature).is_ok();
        self.keys.keys().iter().any(made).then_some(()).ok_or(CryptoError)
    }
}

/// Makes the keys of address tokens, of Retry and of NEW_TOKEN (RFC 9000 section 8.1).
pub(crate) struct TokenKey(pub(crate) Arc<EdgeKeys>);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn crypto::AeadKey> {
        let cipher = |key: &Key| ChaCha20Poly1305::new(AeadKey::from_slice(&expand(&key.token, &[random_bytes])));
        Box::new(TokenAead(self.0.keys().iter().map(cipher).collect()))
    }
}

/// Ciphers for one token, and so with one nonce.
struct TokenAead(Vec<ChaCha20Poly1305>);

impl crypto::AeadKey for TokenAead {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        let cipher = self.0.first().ok_or(CryptoError)?;
        cipher.encrypt_in_place(&Nonce::default(), additional_data, data).map_err(|_| CryptoError)
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        let (text, tag) = data.split_at_mut_checked(data.len().wrapping_sub(MAC)).ok_or(CryptoError)?;
        let tag = Tag::clone_from_slice(tag);
        // What does not open is left as it was.
        let opened = |cipher: &ChaCha20Poly1305, text: &mut [u8]| {
            cipher.decrypt_in_place_detached(&Nonce::default(), additional_data, text, &tag).is_ok()
        };
        self.0.iter().any(|cipher| opened(cipher, text)).then_some(text).ok_or(CryptoError)
    }
}

/// Seals what a client needs to resume into its ticket (RFC 8446 section 4.6.1).
pub(crate) struct Ticketer {
    keys: Arc<EdgeKeys>,
    runtime: Runtime,
    rng: EntropyRng,
}

impl Ticketer {
    pub(crate) fn new(keys: Arc<EdgeKeys>, runtime: &Runtime) -> Self {
        Self { keys, runtime: runtime.clone(), rng: runtime.rng() }
    }

    fn period(&self) -> u64 {
        self.runtime.now_ms() / TICKET_MS
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").finish_non_exhaustive()
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME
    }

    /// Nonce, then ciphertext. The nonces of all gateways under one key are random, hence the long ones.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        self.rng.clone().fill_bytes(&mut nonce);
        let sealed = self.keys.keys().first()?.ticket(self.period()).encrypt(XNonce::from_slice(&nonce), plain).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = cipher.split_at_checked(NONCE)?;
        let nonce = XNonce::from_slice(nonce);
        let now = self.period();
        let keys = self.keys.keys();
        // Clocks of gateways differ, so the time to come counts as well.
        let periods = [Some(now), now.checked_sub(1), Some(now + 1)];
        let mut tried = keys.iter().flat_map(|key| periods.iter().flatten().map(|period| key.ticket(*period)));
        tried.find_map(|cipher| cipher.decrypt(nonce, sealed).ok())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::atomic::{AtomicU64, Ordering},
    };

    use qpc_chassis::runtime::{Clock, SystemEntropy};
    use quinn::crypto::HmacKey as _;

    use super::*;

    #[derive(Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn file(lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, lines.join("\n")).unwrap();
        (folder, path)
    }

    fn keys(lines: &[&str]) -> Arc<EdgeKeys> {
        let (_folder, path) = file(lines);
        EdgeKeys::load(&path).unwrap()
    }

    fn ticketer(keys: &Arc<EdgeKeys>, clock: &Arc<Hands>) -> Ticketer {
        Ticketer::new(keys.clone(), &Runtime::new(clock.clone(), Arc::new(SystemEntropy)))
    }

    #[test]
    fn a_file_holds_one_to_four_keys_of_64_digits() {
        for bad in [vec![], vec!["11"], vec![ONE; 5], vec![ONE, "key"]] {
            let (_folder, path) = file(&bad);
            assert!(matches!(EdgeKeys::load(&path), Err(GatewayError::EdgeKeysForm(_))), "{bad:?}");
        }
        let (_folder, path) = file(&[ONE, "", TWO, ""]);
        assert_eq!(EdgeKeys::load(&path).unwrap().keys().len(), 2);
        assert!(matches!(EdgeKeys::load(&path.with_extension("not")), Err(GatewayError::EdgeKeys { .. })));
    }

    #[test]
    fn a_changed_file_is_taken_in_and_a_broken_one_is_not() {
        let (_folder, path) = file(&[ONE]);
        let keys = EdgeKeys::load(&path).unwrap();
        assert!(!keys.0.look().unwrap());
        let mac = keys.relay_mac(b"message");
        fs::write(&path, [TWO, ONE].join("\n")).unwrap();
        assert!(keys.0.look().unwrap());
        assert_ne!(keys.relay_mac(b"message"), mac, "another key is in use");
        assert!(keys.knows_relayed(b"message", &mac), "the former one still counts");
        fs::write(&path, "broken").unwrap();
        assert!(keys.0.look().is_err());
        assert!(keys.knows_relayed(b"message", &mac));
        fs::write(&path, TWO).unwrap();
        assert!(keys.0.look().unwrap());
        assert!(!keys.knows_relayed(b"message", &mac), "until it is gone");
    }

    #[test]
    fn a_ticket_opens_at_every_gateway_for_one_or_two_periods() {
        let clock = Arc::new(Hands::default());
        let (here, there) = (ticketer(&keys(&[ONE]), &clock), ticketer(&keys(&[TWO, ONE]), &clock));
        let ticket = here.encrypt(b"state").unwrap();
        assert_ne!(ticket, here.encrypt(b"state").unwrap());
        assert_eq!(there.decrypt(&ticket).as_deref(), Some(b"state".as_slice()));
        clock.0.store(2 * TICKET_MS - 1, Ordering::SeqCst);
        assert_eq!(there.decrypt(&ticket).as_deref(), Some(b"state".as_slice()));
        clock.0.store(2 * TICKET_MS, Ordering::SeqCst);
        assert_eq!(there.decrypt(&ticket), None);
        assert_eq!(ticketer(&keys(&[TWO]), &clock).decrypt(&here.encrypt(b"state").unwrap()), None);
        let mut changed = here.encrypt(b"state").unwrap();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(here.decrypt(&changed), None);
        assert_eq!(here.decrypt(b"short"), None);
    }

    #[test]
    fn an_address_token_opens_under_any_key_of_the_file() {
        let (made, read) = (TokenKey(keys(&[ONE])), TokenKey(keys(&[TWO, ONE])));
        let mut token = b"address".to_vec();
        made.aead_from_hkdf(b"nonce").seal(&mut token, b"").unwrap();
        assert_eq!(read.aead_from_hkdf(b"nonce").open(&mut token.clone(), b"").unwrap(), b"address");
        assert!(read.aead_from_hkdf(b"other").open(&mut token.clone(), b"").is_err());
        assert!(TokenKey(keys(&[TWO])).aead_from_hkdf(b"nonce").open(&mut token, b"").is_err());
        assert!(made.aead_from_hkdf(b"nonce").open(&mut [1; 3], b"").is_err());
    }

    #[test]
    fn a_reset_token_stays_the_same_when_the_keys_change() {
        let (before, after) = (keys(&[ONE]), keys(&[TWO, ONE]));
        let shown = [7; cid::LEN - cid::TAG];
        let id = [shown.as_slice(), &before.cid_tag(&shown)].concat();
        let sign = |keys: &Arc<EdgeKeys>| {
            let mut out = [0; 32];
            ResetKey { keys: keys.clone(), fresh: Arc::default() }.sign(&id, &mut out);
            out
        };
        assert_eq!(sign(&before), sign(&after));
        assert_ne!(sign(&before), sign(&keys(&[TWO])));
    }
}
