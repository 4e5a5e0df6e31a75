//! An access key as a token: a compact JWS (RFC 7515) of type `access-key+jwt`. Verification needs no I/O.

use std::{fmt, ops::Not};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rand::{TryRng, rngs::SysRng};
use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::public_keys::{PublicKey, PublicKeys};
use crate::model::{KeyHash, KeyId, KeyRecord, Role, TenantId, Timestamp, TokenIssuer, UserId};

/// The maximum length of a key, in bytes. A real key is about 700 bytes long, or 950 if signed with RSA.
pub const LONGEST: usize = 4096;

/// The first characters of every key, for secret scanners: the base64url encoding of `{"typ":"access-key+jwt",`.
pub const PREFIX: &str = "eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIs";

/// A key in plain text. It cannot be printed or serialized, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct AccessKey(Zeroizing<String>);

impl AccessKey {
    /// Wraps a string that may be a key. Surrounding white space, such as the line break at the end of a file, is
    /// removed.
    #[must_use]
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// Returns the key's text, for the parser and for the one response that contains it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 hash of the key, as stored in the table.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        hash.into()
    }

    /// Parses the key and verifies its signature, issuer, audience and expiry.
    ///
    /// The header is never parsed. Instead, it is compared as text with the headers of our own public keys, so a token
    /// cannot choose its algorithm, key or type.
    ///
    /// # Errors
    /// Returns a [`Refusal`] that states the reason. Clients see [`Refusal::Expired`] as `expired` and every other
    /// reason as `invalid`.
    pub fn verify(
        &self,
        public_keys: &PublicKeys,
        issuer: &TokenIssuer,
        now: Timestamp,
    ) -> Result<VerifiedKey, Refusal> {
        let text = self.reveal();
        if text.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::NotAToken)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::NotAToken)?;
        let public_key = public_keys.for_header(header);
        let public_key = public_key.ok_or_else(|| Refusal::of_header(header))?;
        // Decoding is strict: it refuses padding and non-zero trailing bits, so that a key has only one encoding.
        let signature = BASE64URL.decode(signature).map_err(|_| Refusal::Encoding)?;
        public_key
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Refusal::Signature)?;
        let payload = Zeroizing::new(BASE64URL.decode(payload).map_err(|_| Refusal::Encoding)?);
        let claims: SignedClaims<'_> =
            serde_json::from_slice(&payload).map_err(|_| Refusal::Claims)?;
        if claims.iss != issuer.issuer || claims.aud != issuer.audience {
            return Err(Refusal::Issuer);
        }
        let claims = claims.claims;
        if now >= claims.expires_at {
            return Err(Refusal::Expired);
        }
        let hash = self.hash();
        Ok(VerifiedKey { hash, claims })
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey")
    }
}

/// A genuine key that has not expired. Only [`AccessKey::verify`] creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedKey {
    hash: KeyHash,
    claims: Claims,
}

impl VerifiedKey {
    #[must_use]
    pub const fn hash(&self) -> KeyHash {
        self.hash
    }

    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Creates a key that counts as verified, for tests of the code that runs after verification.
    #[cfg(test)]
    pub(crate) const fn new(hash: KeyHash, claims: Claims) -> Self {
        Self { hash, claims }
    }
}

/// Why a string is not a valid key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    #[error("not three parts separated by dots")]
    NotAToken,
    #[error("not the header of an access key")]
    Header,
    /// The header has the type of an access key, but no public key has this algorithm and key id.
    #[error("no public key has this header")]
    UnknownKey,
    #[error("not base64url without padding")]
    Encoding,
    #[error("the signature does not verify")]
    Signature,
    /// The token was signed with our KMS key, but not as an access key.
    #[error("the claims cannot be read")]
    Claims,
    #[error("wrong iss or aud")]
    Issuer,
    #[error("expired")]
    Expired,
}

impl Refusal {
    /// Returns the reason for refusing a header that matches no public key.
    fn of_header(header: &str) -> Self {
        if header.starts_with(PREFIX) {
            Self::UnknownKey
        } else {
            Self::Header
        }
    }
}

/// The claims signed into a key: an upper bound on what the key can ever do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// AccuKnox's clients read this claim without verifying the key.
    #[serde(rename = "tenant-id")]
    pub tenant_id: TenantId,
    /// The owner.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    #[serde(rename = "jti")]
    pub key_id: KeyId,
    pub role: Role,
    /// The highest value that [`KeyRecord::max_clusters`] can have.
    pub max_clusters: u32,
    #[serde(rename = "iat")]
    pub issued_at: Timestamp,
    /// The first second at which the key is no longer valid.
    #[serde(rename = "exp")]
    pub expires_at: Timestamp,
    /// How many times the key had been rotated when this secret was issued.
    #[serde(rename = "gen", default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// Whether the holder may rotate the key.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub self_rotate: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Claims {
    /// Returns the tenant, the owner and the key id, which together identify the key's record.
    #[must_use]
    pub const fn ids(&self) -> (&TenantId, &UserId, KeyId) {
        (&self.tenant_id, &self.user_id, self.key_id)
    }

    /// Returns the claims of the key that `record` describes.
    #[must_use]
    pub fn of(record: &KeyRecord) -> Self {
        Self {
            tenant_id: record.tenant_id.clone(),
            user_id: record.user_id.clone(),
            key_id: record.key_id,
            role: record.role,
            max_clusters: record.signed_max_clusters,
            issued_at: record.rotated_at.unwrap_or(record.created_at),
            expires_at: record.expires_at,
            generation: record.generation,
            self_rotate: record.self_rotate,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SignedClaims<'a> {
    #[serde(borrow)]
    iss: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    aud: std::borrow::Cow<'a, str>,
    #[serde(flatten)]
    claims: Claims,
    #[serde(borrow)]
    secret: std::borrow::Cow<'a, str>,
}

/// A key without its signature: the JWS Signing Input of RFC 7515.
pub struct SigningInput(Zeroizing<String>);

impl SigningInput {
    /// Encodes the header and the claims, together with a new 32-byte secret from the operating system's random number
    /// generator.
    pub fn new(
        claims: Claims,
        issuer: &TokenIssuer,
        public_key: &PublicKey,
    ) -> Result<Self, rand::rngs::SysError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(bytes.as_mut_slice())?;
        let secret = Zeroizing::new(BASE64URL.encode(bytes.as_slice()));
        let payload = SignedClaims {
            iss: issuer.issuer.as_str().into(),
            aud: issuer.audience.as_str().into(),
            claims,
            secret: secret.as_str().into(),
        };
        // Serialization cannot fail, because the claims are strings, integers and enums.
        let payload = Zeroizing::new(serde_json::to_vec(&payload).unwrap_or_default());
        let mut text = String::with_capacity(LONGEST);
        text.push_str(public_key.header());
        text.push('.');
        BASE64URL.encode_string(payload.as_slice(), &mut text);
        Ok(Self(Zeroizing::new(text)))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Appends a signature that is encoded as RFC 7518 specifies.
    ///
    /// # Errors
    /// Returns [`Refusal::Signature`] if the signature cannot be verified with `public_key`.
    pub fn signed(
        mut self,
        signature: &[u8],
        public_key: &PublicKey,
    ) -> Result<AccessKey, Refusal> {
        public_key
            .verify(self.as_bytes(), signature)
            .map_err(|_| Refusal::Signature)?;
        self.0.push('.');
        BASE64URL.encode_string(signature, &mut self.0);
        Ok(AccessKey(self.0))
    }
}

impl fmt::Debug for SigningInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningInput")
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{Signature, SigningKey, signature::Signer};
    use p256::pkcs8::EncodePublicKey;
    use proptest::prelude::*;

    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    struct Fixture {
        signing: SigningKey,
        public_key: PublicKey,
        public_keys: PublicKeys,
        issuer: TokenIssuer,
    }

    fn fixture() -> Fixture {
        let signing = SigningKey::from_slice(&[7; 32]).unwrap();
        let spki = signing.verifying_key().to_public_key_der().unwrap();
        let public_key = PublicKey::from_spki(spki.as_bytes()).unwrap();
        let public_keys = PublicKeys::new(vec![public_key.clone()]);
        let issuer = TokenIssuer {
            issuer: "https://keys.example".into(),
            audience: "access-keys".into(),
        };
        Fixture {
            signing,
            public_key,
            public_keys,
            issuer,
        }
    }

    fn claims() -> Claims {
        Claims {
            tenant_id: "acme".parse().unwrap(),
            user_id: "editor".parse().unwrap(),
            key_id: KeyId::generate(NOW).unwrap(),
            role: Role::Viewer,
            max_clusters: 3,
            issued_at: NOW,
            expires_at: NOW + Duration::from_secs(60),
            generation: 0,
            self_rotate: false,
        }
    }

    impl Fixture {
        fn sign(&self, input: SigningInput) -> AccessKey {
            let signature: Signature = self.signing.sign(input.as_bytes());
            let key = input.signed(&signature.to_bytes(), &self.public_key);
            key.unwrap()
        }

        fn issue(&self, claims: Claims) -> AccessKey {
            let input = SigningInput::new(claims, &self.issuer, &self.public_key);
            self.sign(input.unwrap())
        }

        fn verify(&self, text: &str) -> Result<Claims, Refusal> {
            let key = AccessKey::new(text.to_owned());
            let key = key.verify(&self.public_keys, &self.issuer, NOW)?;
            Ok(key.claims)
        }
    }

    #[test]
    fn a_key_verifies_and_starts_as_secret_scanners_expect() {
        let f = fixture();
        let key = f.issue(claims());
        assert_eq!(f.verify(key.reveal()).map(|c| c.max_clusters), Ok(3));
        assert!(key.reveal().starts_with(PREFIX));
        assert_eq!(format!("{key:?} {:?}", key.hash()), "AccessKey KeyHash");
    }

    #[test]
    fn a_key_with_any_changed_character_is_refused() {
        let f = fixture();
        let key = f.issue(claims());
        let text = key.reveal();
        for i in 0..text.len() {
            for c in ["A", "B", "_", "-", ".", "=", " ", "é"] {
                if &text[i..=i] != c {
                    let forged = format!("{}{c}{}", &text[..i], &text[i + 1..]);
                    assert!(f.verify(&forged).is_err(), "{i} {c}");
                }
            }
        }
    }

    #[test]
    fn a_signature_that_does_not_verify_makes_no_key() {
        let f = fixture();
        let input = || SigningInput::new(claims(), &f.issuer, &f.public_key).unwrap();
        let signature: Signature = f.signing.sign(input().as_bytes());
        let key = input().signed(&signature.to_bytes(), &f.public_key);
        assert_eq!(key.err(), Some(Refusal::Signature));
    }

    #[test]
    fn a_key_expires_at_the_exact_second() {
        let f = fixture();
        let key = f.issue(claims());
        assert!(
            key.verify(&f.public_keys, &f.issuer, NOW + Duration::from_secs(59))
                .is_ok()
        );
        assert_eq!(
            key.verify(&f.public_keys, &f.issuer, NOW + Duration::from_secs(60)),
            Err(Refusal::Expired)
        );
    }

    #[test]
    fn a_key_of_another_issuer_is_refused() {
        let f = fixture();
        let key = f.issue(claims());
        for (issuer, audience) in [
            ("https://other.example", "access-keys"),
            ("https://keys.example", "other"),
        ] {
            let other = TokenIssuer {
                issuer: issuer.into(),
                audience: audience.into(),
            };
            assert_eq!(
                key.verify(&f.public_keys, &other, NOW),
                Err(Refusal::Issuer)
            );
        }
    }

    #[test]
    fn only_our_own_headers_are_accepted() {
        let f = fixture();
        let key = f.issue(claims());
        let (_, rest) = key.reveal().split_once('.').unwrap();
        let kid = f.public_key.kid();
        let refusal = |header: &str| {
            let forged = format!("{}.{rest}", BASE64URL.encode(header));
            f.verify(&forged).unwrap_err()
        };
        for header in [
            format!(r#"{{"typ":"access-key+jwt","alg":"none","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"access-key+jwt","alg":"HS256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"access-key+jwt","alg":"RS256","kid":"{kid}"}}"#),
            r#"{"typ":"access-key+jwt","alg":"ES256","kid":"unknown"}"#.into(),
        ] {
            assert_eq!(refusal(&header), Refusal::UnknownKey, "{header}");
        }
        for header in [
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"access-key+jwt"}}"#),
        ] {
            assert_eq!(refusal(&header), Refusal::Header, "{header}");
        }
        assert_eq!(f.verify(&"x".repeat(LONGEST + 1)), Err(Refusal::TooLong));
    }

    proptest! {
        #[test]
        fn any_other_text_is_refused_without_a_panic(text in "\\PC{0,300}|[A-Za-z0-9_.-]{0,900}") {
            prop_assert!(fixture().verify(&text).is_err());
        }

        #[test]
        fn any_claims_survive_the_round_trip(
            tenant in "[A-Za-z0-9._-]{1,64}", user in "[A-Za-z0-9._|@:+=~-]{3,128}",
            max_clusters in 1..=100_u32, life in 1..31_536_000_u64,
            generation in 0..3_u32, self_rotate: bool,
        ) {
            let f = fixture();
            let claims = Claims {
                tenant_id: tenant.parse().unwrap(), user_id: user.parse().unwrap(),
                max_clusters, expires_at: NOW + Duration::from_secs(life), generation, self_rotate,
                ..claims()
            };
            let key = f.issue(claims.clone());
            prop_assert!(key.reveal().len() < LONGEST);
            prop_assert_eq!(f.verify(key.reveal()), Ok(claims));
        }
    }
}
