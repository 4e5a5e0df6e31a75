//! Private keys of the local KMS.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;
use p256::{
    ecdsa::signature::hazmat::PrehashSigner,
    elliptic_curve::rand_core::OsRng,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey},
};
use rsa::Pkcs1v15Sign;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use sha2::{Digest, Sha256};

use super::protocol::{Failure, fail, internal};

/// The maximum size, in bytes, of a message that KMS itself hashes.
const LARGEST_RAW_MESSAGE: usize = 4096;

#[derive(Clone)]
pub(super) enum PrivateKey {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Rsa(rsa::RsaPrivateKey),
}

impl PrivateKey {
    pub(super) fn generate(spec: &str) -> Result<Self, Failure> {
        match spec {
            "ECC_NIST_P256" => Ok(Self::P256(p256::ecdsa::SigningKey::random(&mut OsRng))),
            "ECC_NIST_EDWARDS25519" => {
                let key = ed25519_dalek::SigningKey::generate(&mut OsRng);
                Ok(Self::Ed25519(key))
            }
            "RSA_2048" => {
                let key = rsa::RsaPrivateKey::new(&mut OsRng, 2048).map_err(internal)?;
                Ok(Self::Rsa(key))
            }
            _ => fail(
                "ValidationException",
                format!("the local KMS does not support the KeySpec {spec:?}"),
            ),
        }
    }

    /// Returns the key spec, and the only signing algorithm that the local KMS supports for it.
    pub(super) fn spec(&self) -> (&'static str, &'static str) {
        match self {
            Self::P256(_) => ("ECC_NIST_P256", "ECDSA_SHA_256"),
            Self::Ed25519(_) => ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
            Self::Rsa(_) => ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256"),
        }
    }

    /// Returns the public key as a DER SubjectPublicKeyInfo.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, Failure> {
        let document = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
            Self::Rsa(key) => key.to_public_key().to_public_key_der(),
        };
        Ok(document.map_err(internal)?.into_vec())
    }

    pub(super) fn sign(
        &self,
        message: &[u8],
        message_type: &str,
        algorithm: &str,
    ) -> Result<Vec<u8>, Failure> {
        let (spec, own) = self.spec();
        if algorithm != own {
            let message = format!("Algorithm {algorithm} is incompatible with key spec {spec}.");
            return fail("InvalidKeyUsageException", message);
        }
        let digest = self.digest(message, message_type)?;
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&digest).map_err(internal)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Self::Ed25519(key) => Ok(key.sign(message).to_vec()),
            Self::Rsa(key) => key
                .sign(Pkcs1v15Sign::new::<Sha256>(), &digest)
                .map_err(internal),
        }
    }

    /// Returns the SHA-256 digest of a message. If the message type is `DIGEST`, the message is already a digest and is
    /// returned unchanged. Ed25519 ignores the result, because it does its own hashing.
    fn digest(&self, message: &[u8], message_type: &str) -> Result<Vec<u8>, Failure> {
        let problem = match message_type {
            "" | "RAW" if message.len() <= LARGEST_RAW_MESSAGE => {
                return Ok(Sha256::digest(message).to_vec());
            }
            "" | "RAW" => {
                "1 validation error detected: Value at 'message' failed to satisfy constraint: \
                 Member must have length less than or equal to 4096"
                    .to_owned()
            }
            "DIGEST" if matches!(self, Self::Ed25519(_)) => {
                "MessageType DIGEST is invalid for ED25519_SHA_512.".to_owned()
            }
            "DIGEST" if message.len() == 32 => return Ok(message.to_vec()),
            "DIGEST" => {
                let (_, algorithm) = self.spec();
                format!("Digest is invalid length for algorithm {algorithm}.")
            }
            _ => format!("the local KMS does not support the MessageType {message_type}"),
        };
        fail("ValidationException", problem)
    }
}

/// In the state file, a private key consists of its spec and its PKCS #8 document in base64.
impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = match self {
            Self::P256(key) => key.to_pkcs8_der(),
            Self::Ed25519(key) => key.to_pkcs8_der(),
            Self::Rsa(key) => key.to_pkcs8_der(),
        };
        let document = document.map_err(ser::Error::custom)?;
        (self.spec().0, STANDARD.encode(document.as_bytes())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (spec, document) = <(String, String)>::deserialize(deserializer)?;
        let der = STANDARD.decode(document).map_err(de::Error::custom)?;
        let key = match spec.as_str() {
            "ECC_NIST_P256" => p256::ecdsa::SigningKey::from_pkcs8_der(&der).map(Self::P256),
            "ECC_NIST_EDWARDS25519" => {
                ed25519_dalek::SigningKey::from_pkcs8_der(&der).map(Self::Ed25519)
            }
            "RSA_2048" => rsa::RsaPrivateKey::from_pkcs8_der(&der).map(Self::Rsa),
            _ => return Err(de::Error::custom(format!("unknown key spec {spec}"))),
        };
        key.map_err(de::Error::custom)
    }
}
