//! The key itself: a compact JWS (RFC 7515) of type `access-key+jwt`, made once and parsed without I/O.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rand::{TryRng, rngs::SysRng};
use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    clock::Seconds,
    id::{KeyId, TenantId, UserId},
    keyring::{Keyring, PublicKey},
    role::Role,
};

/// The longest text that is looked at. A real key has about 700 bytes, with RSA about 950.
pub const LONGEST: usize = 4096;

/// What every key begins with: base64url of `{"typ":"access-key+jwt",`. Secret scanners look for it.
pub const PREFIX: &str = "eyJ0eXAiOiJhY2Nlc3Mta2V5K2p3dCIs";

/// A key in plain text: whoever reads it may use it. It prints and serializes itself nowhere, and is wiped when
/// dropped.
#[derive(Clone)]
pub struct AccessKey(Zeroizing<String>);

impl AccessKey {
    /// Takes a text that claims to be a key.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one answer that shows it and for the parser.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the table keeps of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        KeyHash(hash)
    }

    /// Parses and verifies the key: pure computation, so what is forged costs no I/O.
    ///
    /// The header is compared as text with those that our own keys have. No algorithm, key id or type is ever
    /// *read* from it, which leaves nothing to confuse: the algorithm belongs to the public key.
    ///
    /// # Errors
    /// One variant per reason. All but [`Refusal::Expired`] answer `invalid` to the outside.
    pub fn verify(
        &self,
        keyring: &Keyring,
        realm: &Realm,
        now: Seconds,
    ) -> Result<Claims, Refusal> {
        let text = self.reveal();
        if text.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::NotAToken)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::NotAToken)?;
        let public_key = keyring.for_header(header).ok_or(Refusal::Header)?;
        // Strict: no padding, no stray bits. One key has one spelling.
        let signature = BASE64URL.decode(signature).map_err(|_| Refusal::Encoding)?;
        public_key
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Refusal::Signature)?;
        let payload = Zeroizing::new(BASE64URL.decode(payload).map_err(|_| Refusal::Encoding)?);
        let claims: SignedClaims<'_> =
            serde_json::from_slice(&payload).map_err(|_| Refusal::Claims)?;
        if claims.iss != realm.issuer || claims.aud != realm.audience {
            return Err(Refusal::Realm);
        }
        let claims = claims.claims;
        if now >= claims.expires_at {
            return Err(Refusal::Expired);
        }
        Ok(claims)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey")
    }
}

/// SHA-256 of a whole key. Equality takes the same time whatever differs.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The bytes, for the table.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A hash read from the table, if it has the right length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// The `iss` and `aud` (RFC 7519) that every key of this deployment carries.
#[derive(Debug, Clone)]
pub struct Realm {
    /// The public URL of the service.
    pub issuer: String,
    /// Who the keys are for.
    pub audience: String,
}

/// Why a text is not a live key. For the log; the outside learns `invalid` or `expired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`LONGEST`].
    #[error("longer than 4096 bytes")]
    TooLong,
    /// Not three parts separated by dots.
    #[error("not three parts separated by dots")]
    NotAToken,
    /// Not a header that any of our keys has: another algorithm, type or key id.
    #[error("not a header of ours")]
    Header,
    /// Not strict base64url.
    #[error("not base64url")]
    Encoding,
    /// The signature is not by the key that the header names.
    #[error("signature does not verify")]
    Signature,
    /// Signed by us, but not as an access key.
    #[error("claims cannot be read")]
    Claims,
    /// Another `iss` or `aud`.
    #[error("issued for another realm")]
    Realm,
    /// `exp` has come.
    #[error("expired")]
    Expired,
}

/// What was signed into a key. No write to the table can raise it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The tenant. Clients of the original read this claim without verifying it.
    #[serde(rename = "tenant-id")]
    pub tenant_id: TenantId,
    /// The owner.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    /// The key's id.
    #[serde(rename = "jti")]
    pub key_id: KeyId,
    /// The most that the key may be.
    pub role: Role,
    /// The most clusters that the key may onboard.
    pub max_clusters: u32,
    /// When the key was issued.
    #[serde(rename = "iat")]
    pub issued_at: Seconds,
    /// The first second in which the key is no longer good.
    #[serde(rename = "exp")]
    pub expires_at: Seconds,
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

/// A key that only lacks its signature: the JWS signing input.
pub struct Unsigned(Zeroizing<String>);

impl Unsigned {
    /// Writes header and claims with 32 fresh bytes from the operating system.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new(
        claims: Claims,
        realm: &Realm,
        public_key: &PublicKey,
    ) -> Result<Self, rand::rngs::SysError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(bytes.as_mut_slice())?;
        let secret = Zeroizing::new(BASE64URL.encode(bytes.as_slice()));
        let payload = SignedClaims {
            iss: realm.issuer.as_str().into(),
            aud: realm.audience.as_str().into(),
            claims,
            secret: secret.as_str().into(),
        };
        // Strings, integers and enums: JSON can hold each of them.
        let payload = Zeroizing::new(serde_json::to_vec(&payload).unwrap_or_default());
        let mut text = String::with_capacity(LONGEST);
        text.push_str(public_key.header());
        text.push('.');
        BASE64URL.encode_string(payload.as_slice(), &mut text);
        Ok(Self(Zeroizing::new(text)))
    }

    /// What is to be signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Adds the signature, as RFC 7518 wants it encoded.
    #[must_use]
    pub fn signed(mut self, signature: &[u8]) -> AccessKey {
        self.0.push('.');
        BASE64URL.encode_string(signature, &mut self.0);
        AccessKey(self.0)
    }
}

impl fmt::Debug for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unsigned")
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{Signature, SigningKey, signature::Signer};
    use p256::pkcs8::EncodePublicKey;
    use proptest::prelude::*;

    use super::*;

    const NOW: Seconds = 1_800_000_000;

    struct Fixture {
        signing: SigningKey,
        keyring: Keyring,
        realm: Realm,
    }

    fn fixture() -> Fixture {
        let signing = SigningKey::from_slice(&[7; 32]).unwrap();
        let spki = signing.verifying_key().to_public_key_der().unwrap();
        let keyring = Keyring::new(vec![PublicKey::from_spki(spki.as_bytes()).unwrap()]);
        let realm = Realm {
            issuer: "https://keys.example".into(),
            audience: "access-keys".into(),
        };
        Fixture {
            signing,
            keyring,
            realm,
        }
    }

    fn claims() -> Claims {
        Claims {
            tenant_id: "acme".parse().unwrap(),
            user_id: "editor".parse().unwrap(),
            key_id: KeyId::new().unwrap(),
            role: Role::Viewer,
            max_clusters: 3,
            issued_at: NOW,
            expires_at: NOW + 60,
        }
    }

    impl Fixture {
        fn sign(&self, unsigned: Unsigned) -> AccessKey {
            let signature: Signature = self.signing.sign(unsigned.as_bytes());
            unsigned.signed(&signature.to_bytes())
        }

        fn issue(&self, claims: Claims) -> AccessKey {
            let unsigned =
                Unsigned::new(claims, &self.realm, self.keyring.signing().unwrap()).unwrap();
            self.sign(unsigned)
        }

        fn verify(&self, text: &str) -> Result<Claims, Refusal> {
            AccessKey::new(text.to_owned()).verify(&self.keyring, &self.realm, NOW)
        }
    }

    #[test]
    fn a_key_reads_back_and_begins_as_secret_scanners_expect() {
        let f = fixture();
        let key = f.issue(claims());
        assert_eq!(f.verify(key.reveal()).map(|c| c.max_clusters), Ok(3));
        assert!(key.reveal().starts_with(PREFIX));
        assert_eq!(format!("{key:?} {:?}", key.hash()), "AccessKey KeyHash");
    }

    #[test]
    fn every_single_changed_character_is_refused() {
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
    fn expiry_is_to_the_second() {
        let f = fixture();
        let key = f.issue(claims());
        assert!(key.verify(&f.keyring, &f.realm, NOW + 59).is_ok());
        assert_eq!(
            key.verify(&f.keyring, &f.realm, NOW + 60),
            Err(Refusal::Expired)
        );
    }

    #[test]
    fn a_key_for_another_realm_is_refused() {
        let f = fixture();
        let key = f.issue(claims());
        for (issuer, audience) in [
            ("https://other.example", "access-keys"),
            ("https://keys.example", "other"),
        ] {
            let other = Realm {
                issuer: issuer.into(),
                audience: audience.into(),
            };
            assert_eq!(key.verify(&f.keyring, &other, NOW), Err(Refusal::Realm));
        }
    }

    #[test]
    fn no_header_but_ours_is_considered() {
        let f = fixture();
        let key = f.issue(claims());
        let (_, rest) = key.reveal().split_once('.').unwrap();
        let kid = f.keyring.signing().unwrap().kid();
        for header in [
            format!(r#"{{"typ":"access-key+jwt","alg":"none","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"access-key+jwt","alg":"HS256","kid":"{kid}"}}"#),
            format!(r#"{{"typ":"access-key+jwt","alg":"RS256","kid":"{kid}"}}"#),
            r#"{"typ":"access-key+jwt","alg":"ES256","kid":"unknown"}"#.into(),
            format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
        ] {
            let forged = format!("{}.{rest}", BASE64URL.encode(header));
            assert_eq!(f.verify(&forged), Err(Refusal::Header));
        }
        assert_eq!(f.verify(&"x".repeat(LONGEST + 1)), Err(Refusal::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC{0,300}|[A-Za-z0-9_.-]{0,900}") {
            prop_assert!(fixture().verify(&text).is_err());
        }

        #[test]
        fn any_claims_survive_the_round_trip(
            tenant in "[A-Za-z0-9._-]{1,64}", user in "[A-Za-z0-9._|@:+=~-]{3,128}",
            max_clusters in 1..=100_u32, life in 1..31_536_000_i64,
        ) {
            let f = fixture();
            let claims = Claims {
                tenant_id: tenant.parse().unwrap(), user_id: user.parse().unwrap(),
                max_clusters, expires_at: NOW + life, ..claims()
            };
            let key = f.issue(claims.clone());
            prop_assert!(key.reveal().len() < LONGEST);
            prop_assert_eq!(f.verify(key.reveal()), Ok(claims));
        }
    }
}
