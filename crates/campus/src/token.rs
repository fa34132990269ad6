//! Access tokens: JSON Web Tokens signed with HMAC-SHA-256, and nothing else.
//!
//! A general JWT library would bring every algorithm along; refusing all but
//! one is what keeps `alg: none` and key confusion out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::model::{Principal, Role, Timestamp};

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Tokens are short; a longer text is not worth a signature check.
const MAX_LENGTH: usize = 1024;

/// Seconds that the clock of whoever signed may be ahead.
const CLOCKS_DIFFER_BY: i64 = 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: Role,
    typ: String,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing)]
    nbf: Option<i64>,
    #[serde(default, skip_serializing)]
    iss: Option<serde_json::Value>,
    #[serde(default, skip_serializing)]
    aud: Option<serde_json::Value>,
}

impl Claims {
    /// A secret may be shared with others, whose tokens are not for Campus. Its own name nobody.
    fn are_for_others(&self) -> bool {
        let is_us = |name: &serde_json::Value| name == "campus";
        let from_us = self.iss.as_ref().is_none_or(is_us);
        let for_us = self.aud.as_ref().is_none_or(|aud| match aud.as_array() {
            Some(names) => names.iter().any(is_us),
            None => is_us(aud),
        });
        !(from_us && for_us)
    }
}

/// What the command line says: one request, by whoever knows the secret.
#[derive(Serialize, Deserialize)]
struct RequestClaims {
    typ: String,
    req: String,
    iat: i64,
    exp: i64,
}

const OF_REQUESTS: &str = "request";

/// For how many seconds such a token holds: until it has arrived.
const REQUEST_HOLDS: i64 = 15;

/// What no token begins with, so that a proof cannot be one.
const PROOF: &str = "campus proof: ";

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    Invalid,
    Expired,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub principal: Principal,
    pub expires_at: Timestamp,
}

/// Signs and checks access tokens.
#[derive(Clone)]
pub struct TokenKey {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

impl TokenKey {
    pub fn new(secret: &[u8], lifetime: Duration) -> Self {
        // HMAC takes keys of any length; the type cannot say so.
        #[expect(clippy::expect_used, reason = "HMAC accepts a key of any length")]
        let mac = Hmac::new_from_slice(secret).expect("HMAC accepts a key of any length");
        Self { mac, lifetime }
    }

    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    pub fn sign(&self, principal: Principal, now: Timestamp) -> String {
        let claims = serde_json::json!({
            "sub": principal.id.to_string(),
            "role": principal.role,
            "typ": "access",
            "iat": now.seconds(),
            "exp": now.plus(self.lifetime).seconds(),
        });
        self.signed(&claims.to_string())
    }

    fn signed(&self, claims: &str) -> String {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let signed = format!("{HEADER}.{claims}");
        let mac = self.mac.clone().chain_update(&signed).finalize();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
    }

    /// For this one request (`DELETE /cache?confirm=all`), now, and nothing else.
    pub fn sign_request(&self, request: &str, now: Timestamp) -> String {
        let iat = now.seconds();
        let claims = serde_json::json!({
            "typ": OF_REQUESTS,
            "req": request,
            "iat": iat,
            "exp": iat + REQUEST_HOLDS,
        });
        self.signed(&claims.to_string())
    }

    pub fn allows_request(&self, token: &str, request: &str, now: Timestamp) -> bool {
        self.claims(token).is_some_and(|claims: RequestClaims| {
            claims.typ == OF_REQUESTS
                && claims.req == request
                && claims.iat <= now.seconds() + CLOCKS_DIFFER_BY
                && claims.exp > now.seconds()
        })
    }

    /// What only those can answer to a challenge who have the same secret.
    pub fn prove(&self, challenge: &str) -> String {
        let mac = self.mac.clone().chain_update(PROOF).chain_update(challenge).finalize();
        URL_SAFE_NO_PAD.encode(mac.into_bytes())
    }

    pub fn is_proof(&self, challenge: &str, proof: &str) -> bool {
        let mac = self.mac.clone().chain_update(PROOF).chain_update(challenge);
        URL_SAFE_NO_PAD.decode(proof).is_ok_and(|proof| mac.verify_slice(&proof).is_ok())
    }

    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Access, Rejected> {
        let claims: Claims = self.claims(token).ok_or(Rejected::Invalid)?;
        let id = claims.sub.parse().map_err(|_| Rejected::Invalid)?;
        let begins = claims.nbf.map_or(claims.iat, |nbf| nbf.max(claims.iat));
        if claims.typ != "access" || begins > now.seconds() + CLOCKS_DIFFER_BY {
            return Err(Rejected::Invalid);
        }
        if claims.are_for_others() {
            return Err(Rejected::Invalid);
        }
        if claims.exp <= now.seconds() {
            return Err(Rejected::Expired);
        }
        let role = claims.role;
        let expires_at = Timestamp(claims.exp.saturating_mul(1_000_000));
        Ok(Access { principal: Principal { id, role }, expires_at })
    }

    /// The claims of a well-formed token with a good signature.
    fn claims<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mac = self.mac.clone().chain_update(signed);
        mac.verify_slice(&signature).ok()?;
        if header != HEADER {
            let header = URL_SAFE_NO_PAD.decode(header).ok()?;
            let header: Header = serde_json::from_slice(&header).ok()?;
            if header.alg != "HS256" || header.crit.is_some() {
                return None;
            }
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{Access, Rejected, TokenKey};
    use crate::model::{Principal, Role, Timestamp};

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
    const ADA: Principal = Principal { id: 7, role: Role::Instructor };

    fn key(secret: &[u8]) -> TokenKey {
        TokenKey::new(secret, Duration::from_secs(900))
    }

    #[test]
    fn a_token_says_who_it_was_signed_for_until_it_expires() {
        let key = key(b"0123456789abcdef0123456789abcdef");
        let token = key.sign(ADA, NOW);
        let later = NOW.plus(Duration::from_secs(900));
        let access = Access { principal: ADA, expires_at: later };
        assert_eq!(key.verify(&token, NOW), Ok(access));
        assert_eq!(key.verify(&token, later), Err(Rejected::Expired));
    }

    #[test]
    fn a_token_of_another_key_or_with_another_claim_is_refused() {
        let token = key(b"one").sign(ADA, NOW);
        assert_eq!(key(b"two").verify(&token, NOW), Err(Rejected::Invalid));
        let claims = URL_SAFE_NO_PAD
            .encode(r#"{"sub":"1","role":"admin","typ":"access","iat":0,"exp":9999999999}"#);
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[1] = &claims;
        let forged = parts.join(".");
        assert_eq!(key(b"one").verify(&forged, NOW), Err(Rejected::Invalid));
    }

    #[test]
    fn a_token_for_one_request_holds_for_that_one_for_seconds_and_for_nobody() {
        let (key, request) = (key(b"one"), "DELETE /cache?confirm=all");
        let token = key.sign_request(request, NOW);
        assert!(key.allows_request(&token, request, NOW));
        assert!(!key.allows_request(&token, "GET /cache/stats", NOW));
        assert!(!key.allows_request(&token, request, NOW.plus(Duration::from_secs(15))));
        assert!(!super::TokenKey::new(b"two", Duration::ZERO).allows_request(&token, request, NOW));
        assert_eq!(key.verify(&token, NOW), Err(Rejected::Invalid));
        assert!(!key.allows_request(&key.sign(ADA, NOW), request, NOW));
    }

    #[test]
    fn a_challenge_is_answered_by_whoever_has_the_secret() {
        let (ours, others) = (key(b"one"), key(b"two"));
        assert!(ours.is_proof("abc", &ours.prove("abc")));
        assert!(!ours.is_proof("abd", &ours.prove("abc")));
        assert!(!ours.is_proof("abc", &others.prove("abc")));
        assert!(!ours.is_proof("abc", ""));
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD
            .encode(r#"{"sub":"1","role":"admin","typ":"access","iat":0,"exp":9999999999}"#);
        for token in [format!("{header}.{claims}."), format!("{header}.{claims}"), String::new()] {
            assert_eq!(key(b"one").verify(&token, NOW), Err(Rejected::Invalid));
        }
    }
}
