//! Tokens that pay for sealed messages.

use qpc_crypto::token::{self, Token, TokenRequest};
use qpc_wire::{IdempotencyKey, v1};
use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::Error;

impl Tx<'_> {
    /// Keeps the key of tokens under its number; false if another one is known under it.
    pub(crate) fn pin_token_key(&self, key: &v1::TokenKey) -> Result<bool, Error> {
        self.sql.execute(
            "INSERT INTO token_keys (key_epoch, public_key) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![key.key_epoch, key.public_key.as_ref()],
        )?;
        Ok(self.token_key(key.key_epoch)?.is_some_and(|known| known == key.public_key.as_ref()))
    }

    /// The key with this number.
    pub(crate) fn token_key(&self, key_epoch: u64) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT public_key FROM token_keys WHERE key_epoch = ?1";
        Ok(self.sql.query_row(sql, [key_epoch], |row| row.get(0)).optional()?)
    }

    /// Number of the newest key.
    pub(crate) fn newest_token_key(&self) -> Result<Option<u64>, Error> {
        Ok(self.sql.query_row("SELECT max(key_epoch) FROM token_keys", [], |row| row.get(0))?)
    }

    /// Tokens that can be spent. Those that are over go.
    pub(crate) fn count_tokens(&self) -> Result<usize, Error> {
        let oldest = token::key_epoch(self.now_ms()).saturating_sub(1);
        self.sql.execute("DELETE FROM tokens WHERE key_epoch < ?1", [oldest])?;
        Ok(self.sql.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?)
    }

    /// Takes one of the tokens, any of them: in the order in which they came they would tell when that was.
    pub(crate) fn take_token(&self) -> Result<Option<Token>, Error> {
        let count = self.count_tokens()?;
        if count == 0 {
            return Ok(None);
        }
        let place = u64::from_be_bytes(self.random()) % count as u64;
        let sql = "DELETE FROM tokens WHERE nonce = (SELECT nonce FROM tokens ORDER BY nonce LIMIT 1 OFFSET ?1) RETURNING token";
        let bytes: Vec<u8> = self.sql.query_row(sql, [place], |row| row.get(0))?;
        Ok(Some(Token::from_bytes(&bytes).map_err(|_| Error::Corrupt("a token"))?))
    }

    /// Keeps what is asked for until there is an answer.
    pub(crate) fn put_token_request(&self, key: IdempotencyKey, request: &TokenRequest) -> Result<(), Error> {
        self.sql.execute(
            "INSERT INTO token_request (one, idempotency_key, request) VALUES (1, ?1, ?2)
             ON CONFLICT (one) DO UPDATE SET idempotency_key = excluded.idempotency_key, request = excluded.request",
            params![key.as_ref(), request.to_bytes().as_slice()],
        )?;
        Ok(())
    }

    /// What was asked for and has no answer.
    pub(crate) fn token_request(&self) -> Result<Option<(IdempotencyKey, TokenRequest)>, Error> {
        let sql = "SELECT idempotency_key, request FROM token_request";
        let found = self.sql.query_row(sql, [], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
        let Some((key, bytes)) = found else { return Ok(None) };
        let request = TokenRequest::from_bytes(&bytes).map_err(|_| Error::Corrupt("a request for tokens"))?;
        Ok(Some((IdempotencyKey(key), request)))
    }

    /// The answer is here, or there will be none.
    pub(crate) fn end_token_request(&self, tokens: &[Token]) -> Result<(), Error> {
        for token in tokens {
            self.sql.execute(
                "INSERT INTO tokens (nonce, key_epoch, token) VALUES (?1, ?2, ?3)",
                params![token.nonce, token.key_epoch, token.to_bytes().as_slice()],
            )?;
        }
        self.sql.execute("DELETE FROM token_request", [])?;
        Ok(())
    }
}
