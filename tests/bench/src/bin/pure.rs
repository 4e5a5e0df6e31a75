//! Runs the pure part of a validation (parse, verify, hash). `tests/instructions` counts its instructions.
//!
//! Keys are signed with ES256 or, if the second argument names a file with an RSA key (`openssl genrsa 2048`), RS256.

use std::{fs, time::Duration};

use access_keys::{
    model::{Role, Timestamp, TokenIssuer},
    token::{AccessKey, Claims, PublicKey, PublicKeys, Refusal, SigningInput, VerifiedKey},
};
use anyhow::{Context, Result, bail, ensure};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::EncodePublicKey,
};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, pkcs8::DecodePrivateKey};
use sha2::{Digest, Sha256};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const LIFE: Duration = Duration::from_secs(60);
/// Enough calls to make the initialisation in the first call insignificant.
const CALLS: usize = 20;

fn main() -> Result<()> {
    let kind = std::env::args()
        .nth(1)
        .context("usage: pure valid|expired|forged|garbage|oversize [RSA key in PEM]")?;
    let signing = match std::env::args().nth(2) {
        None => Signing::Es256(SigningKey::from_slice(&[7; 32])?),
        Some(file) => {
            let key = RsaPrivateKey::from_pkcs8_pem(&fs::read_to_string(file)?)?;
            Signing::Rs256(Box::new(key))
        }
    };
    let spki = match &signing {
        Signing::Es256(key) => key.verifying_key().to_public_key_der()?,
        Signing::Rs256(key) => key.to_public_key().to_public_key_der()?,
    };
    let public_key = PublicKey::from_spki(spki.as_bytes())?;
    let public_keys = PublicKeys::new(vec![public_key.clone()]);
    let issuer = TokenIssuer {
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
        expires_at: NOW + LIFE,
        generation: 0,
        self_rotate: false,
    };
    let issue = || {
        let input = SigningInput::new(claims.clone(), &issuer, &public_key)?;
        let signature = signing.sign(input.as_bytes())?;
        anyhow::Ok(input.signed(&signature, &public_key)?)
    };
    let (key, other) = (issue()?, issue()?);
    let (signed, _) = key.reveal().rsplit_once('.').context("no signature")?;
    let (_, signature) = other.reveal().rsplit_once('.').context("no signature")?;
    let (text, now, expected) = match kind.as_str() {
        "valid" => (key, NOW, None),
        "expired" => (key, NOW + LIFE, Some(Refusal::Expired)),
        "forged" => (
            AccessKey::new(format!("{signed}.{signature}")),
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
        let refusal = counted(&text, &public_keys, &issuer, now).err();
        ensure!(refusal == expected, "{kind}: {refusal:?}");
    }
    Ok(())
}

enum Signing {
    Es256(SigningKey),
    Rs256(Box<RsaPrivateKey>),
}

impl Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Es256(key) => {
                let signature: Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Rs256(key) => {
                let scheme = Pkcs1v15Sign::new::<Sha256>();
                key.sign(scheme, &Sha256::digest(message))?
            }
        })
    }
}

/// The code whose instructions are counted. As in a validation, only a verified key is hashed.
#[inline(never)]
fn counted(
    key: &AccessKey,
    public_keys: &PublicKeys,
    issuer: &TokenIssuer,
    now: Timestamp,
) -> Result<VerifiedKey, Refusal> {
    key.verify(public_keys, issuer, now)
}
