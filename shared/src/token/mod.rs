//! The key as a token: its format, the public keys that verify it, and the KMS keys that sign it.

mod jws;
mod kms;
mod public_keys;

pub use jws::{AccessKey, Claims, LONGEST, PREFIX, Refusal, SigningInput, VerifiedKey};
pub use kms::{KmsError, KmsKeys};
pub use public_keys::{Algorithm, JwkSet, PublicKey, PublicKeys, UnsupportedKey};
