//! The public keys that verify access keys. The keys are read as SubjectPublicKeyInfo (RFC 5280), identified by
//! thumbprint (RFC 7638), and published as a JWK Set (RFC 7517).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use der::{Decode, Reader, asn1::ObjectIdentifier, asn1::UintRef};
use ring::{digest, signature};
use serde::Serialize;
use spki::SubjectPublicKeyInfoRef;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A signature algorithm (RFC 7518, RFC 8037). The algorithm is a property of the public key, so a token's header
/// cannot choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: KMS key spec `ECC_NIST_P256`.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256: KMS key spec `RSA_2048`.
    Rs256,
    /// Ed25519: KMS key spec `ECC_NIST_EDWARDS25519`.
    EdDsa,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why the given bytes are not a usable public key.
#[derive(Debug, thiserror::Error)]
pub enum UnsupportedKey {
    #[error("not a SubjectPublicKeyInfo: {0}")]
    Encoding(#[from] der::Error),
    #[error("key type {0} is not one of ECC_NIST_P256, RSA_2048, ECC_NIST_EDWARDS25519")]
    Algorithm(ObjectIdentifier),
}

#[derive(Debug, Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    header: String,
    bytes: Vec<u8>,
    jwk: Jwk,
}

/// A JWK (RFC 7517) for signatures.
#[derive(Debug, Clone, Serialize)]
struct Jwk {
    #[serde(flatten)]
    parameters: Parameters,
    alg: &'static str,
    kid: String,
    r#use: &'static str,
}

/// The required members of a JWK, in the lexicographic order in which RFC 7638 hashes them.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Parameters {
    Ec {
        crv: &'static str,
        kty: &'static str,
        x: String,
        y: String,
    },
    Rsa {
        e: String,
        kty: &'static str,
        n: String,
    },
    Okp {
        crv: &'static str,
        kty: &'static str,
        x: String,
    },
}

impl Parameters {
    fn thumbprint(&self) -> String {
        // Serialization cannot fail, because the members are strings.
        let members = serde_json::to_vec(self).unwrap_or_default();
        BASE64URL.encode(digest::digest(&digest::SHA256, &members))
    }
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo, as returned by KMS `GetPublicKey`.
    pub fn from_spki(spki: &[u8]) -> Result<Self, UnsupportedKey> {
        let info = SubjectPublicKeyInfoRef::from_der(spki)?;
        let bytes = info.subject_public_key.as_bytes().unwrap_or_default();
        let curve = info.algorithm.parameters_oid().ok();
        let (algorithm, parameters) = match (info.algorithm.oid, bytes) {
            // An uncompressed point (SEC 1): 0x04, x, y.
            (EC_PUBLIC_KEY, [4, point @ ..]) if curve == Some(P256) && point.len() == 64 => {
                let (x, y) = point.split_at(32);
                let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
                let (crv, kty) = ("P-256", "EC");
                (Algorithm::Es256, Parameters::Ec { crv, kty, x, y })
            }
            (RSA, _) => {
                let (n, e) = two_integers(bytes)?;
                let (n, e) = (
                    BASE64URL.encode(n.as_bytes()),
                    BASE64URL.encode(e.as_bytes()),
                );
                (Algorithm::Rs256, Parameters::Rsa { e, kty: "RSA", n })
            }
            (ED25519, _) => {
                let x = BASE64URL.encode(bytes);
                let (crv, kty) = ("Ed25519", "OKP");
                (Algorithm::EdDsa, Parameters::Okp { crv, kty, x })
            }
            (other, _) => return Err(UnsupportedKey::Algorithm(other)),
        };
        let (alg, kid) = (algorithm.name(), parameters.thumbprint());
        // `typ` comes first, so that every access key starts with the same characters, which secret scanners can match.
        let header = format!(r#"{{"typ":"access-key+jwt","alg":"{alg}","kid":"{kid}"}}"#);
        let jwk = Jwk {
            parameters,
            alg,
            kid,
            r#use: "sig",
        };
        Ok(Self {
            algorithm,
            header: BASE64URL.encode(header),
            bytes: bytes.to_vec(),
            jwk,
        })
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the JWK thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }

    /// Returns the encoded header, which is the first part of every token that this key can verify.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Verifies a signature that is encoded as RFC 7518 specifies.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), ring::error::Unspecified> {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::EdDsa => &signature::ED25519,
        };
        signature::UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature)
    }
}

/// Reads a SEQUENCE of two INTEGERs, which is the structure of both an RSAPublicKey (RFC 8017) and an ECDSA-Sig-Value
/// (RFC 3279).
fn two_integers(der: &[u8]) -> Result<(UintRef<'_>, UintRef<'_>), der::Error> {
    let mut reader = der::SliceReader::new(der)?;
    let pair =
        reader.sequence(|reader| Ok((UintRef::decode(reader)?, UintRef::decode(reader)?)))?;
    reader.finish(pair)
}

/// Converts the DER-encoded ECDSA signature that KMS returns into the fixed-length r || s of RFC 7518, section 3.4.
pub fn ecdsa_fixed(signature: &[u8]) -> Result<[u8; 64], der::Error> {
    let (r, s) = two_integers(signature)?;
    let mut fixed = [0; 64];
    for (half, integer) in fixed.chunks_exact_mut(32).zip([r, s]) {
        let integer = integer.as_bytes();
        let start = half
            .len()
            .checked_sub(integer.len())
            .ok_or(der::ErrorKind::Overflow)?;
        half[start..].copy_from_slice(integer);
    }
    Ok(fixed)
}

/// The public keys that verify access keys. There can be several, so that access keys stay valid when the signing key
/// is rotated.
#[derive(Debug, Default)]
pub struct PublicKeys(Vec<PublicKey>);

/// A JWK Set (RFC 7517).
#[derive(Debug, Serialize)]
pub struct JwkSet<'a> {
    keys: Vec<&'a Jwk>,
}

impl PublicKeys {
    /// `keys` are in the order of the configuration.
    #[must_use]
    pub const fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// Returns the public key whose tokens start with exactly this header.
    #[must_use]
    pub fn for_header(&self, header: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.header == header)
    }

    #[must_use]
    pub fn jwks(&self) -> JwkSet<'_> {
        JwkSet {
            keys: self.0.iter().map(|key| &key.jwk).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ecdsa_signature_is_padded_to_its_fixed_width() {
        let fixed = ecdsa_fixed(&[0x30, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07]).unwrap();
        assert_eq!((fixed[31], fixed[63]), (5, 7));
        assert_eq!(fixed.iter().filter(|byte| **byte != 0).count(), 2);
        assert!(ecdsa_fixed(&[0x30, 0x03, 0x02, 0x01, 0x05]).is_err());
    }

    #[test]
    fn the_thumbprint_matches_rfc_7638() {
        // The key and its thumbprint, from RFC 8037, appendices A.2 and A.3.
        let mut spki = vec![
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        spki.extend(
            BASE64URL
                .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
                .unwrap(),
        );
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.algorithm(), Algorithm::EdDsa);
    }
}
