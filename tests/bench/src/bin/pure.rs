//! The pure part of a validation, for `tests/instructions` to count: parse, verify, hash. No I/O, no clock.

use access_keys::{
    key::{AccessKey, Claims, KeyHash, Realm, Refusal, Unsigned},
    keyring::{Keyring, PublicKey},
    role::Role,
};
use anyhow::{Context, Result, bail, ensure};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::EncodePublicKey,
};

const NOW: i64 = 1_800_000_000;
/// So many calls that the first one's initialisation does not count for much.
const CALLS: usize = 20;

fn main() -> Result<()> {
    let kind = std::env::args()
        .nth(1)
        .context("usage: pure valid|expired|forged|garbage|oversize")?;
    let signing = SigningKey::from_slice(&[7; 32])?;
    let spki = signing.verifying_key().to_public_key_der()?;
    let keyring = Keyring::new(vec![PublicKey::from_spki(spki.as_bytes())?]);
    let realm = Realm {
        issuer: "https://keys.example".into(),
        audience: "access-keys".into(),
    };
    let claims = Claims {
        tenant_id: "acme".parse()?,
        user_id: "editor".parse()?,
        key_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse()?,
        role: Role::Viewer,
        max_clusters: 3,
        issued_at: NOW,
        expires_at: NOW + 60,
    };
    let unsigned = Unsigned::new(claims, &realm, keyring.signing().context("no key")?)?;
    let signature: Signature = signing.sign(unsigned.as_bytes());
    let forged: Signature = signing.sign(b"something else");
    let (text, now, expected) = match kind.as_str() {
        "valid" => (unsigned.signed(&signature.to_bytes()), NOW, None),
        "expired" => (
            unsigned.signed(&signature.to_bytes()),
            NOW + 60,
            Some(Refusal::Expired),
        ),
        "forged" => (
            unsigned.signed(&forged.to_bytes()),
            NOW,
            Some(Refusal::Signature),
        ),
        "garbage" => (
            AccessKey::new("not-a-key".into()),
            NOW,
            Some(Refusal::NotAToken),
        ),
        "oversize" => (
            AccessKey::new("A".repeat(50_000)),
            NOW,
            Some(Refusal::TooLong),
        ),
        _ => bail!("unknown kind {kind}"),
    };
    for _ in 0..CALLS {
        let (refusal, _) = counted(&text, &keyring, &realm, now);
        ensure!(refusal == expected, "{kind}: {refusal:?}");
    }
    Ok(())
}

/// What is counted. A refused key is not hashed.
#[inline(never)]
fn counted(
    key: &AccessKey,
    keyring: &Keyring,
    realm: &Realm,
    now: i64,
) -> (Option<Refusal>, Option<KeyHash>) {
    match key.verify(keyring, realm, now) {
        Ok(_) => (None, Some(key.hash())),
        Err(refusal) => (Some(refusal), None),
    }
}
