//! The identity provider of the demo users: an OIDC issuer that signs with RS256, which is all that API Gateway verifies.

use std::{path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::elliptic_curve::rand_core::OsRng;
use rsa::{
    RsaPrivateKey,
    pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey},
    traits::PublicKeyParts,
};
use serde_json::{Value, json};

use crate::{
    clock,
    error::{Error, Result},
    files,
    web::{self, Server},
};

const KEY_ID: &str = "local";
/// How long a token lives that does not say so itself.
const LIFETIME_SECONDS: u64 = 3600;

/// A running issuer.
pub(crate) struct Issuer {
    pub server: Server,
    key: EncodingKey,
}

impl Issuer {
    /// Starts it with the key kept in `data`, so that tokens outlive a restart on the same port.
    pub(crate) async fn start(data: Option<&Path>) -> Result<Self> {
        let path = data.map(|data| data.join("issuer.der"));
        let key = tokio::task::spawn_blocking(move || key(path.as_deref()));
        let key = key.await.map_err(Error::because("the issuer ended"))??;
        let der = key.to_pkcs1_der().map_err(Error::because("the issuer's key cannot be encoded"))?;
        let listener = web::bind(0).await?;
        let url = web::url(&listener)?;
        let configuration = Arc::new(json!({
            "issuer": url,
            "jwks_uri": format!("{url}/.well-known/jwks.json"),
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
        }));
        let keys = Arc::new(json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
            "e": URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
        }]}));
        let server = web::serve(listener, move |parts, _| {
            let answer = match parts.uri.path() {
                "/.well-known/openid-configuration" if parts.method == Method::GET => {
                    web::json(StatusCode::OK, &configuration)
                }
                "/.well-known/jwks.json" if parts.method == Method::GET => web::json(StatusCode::OK, &keys),
                _ => web::message(StatusCode::NOT_FOUND, "Not Found"),
            };
            async { Ok(answer) }
        })?;
        Ok(Self { server, key: EncodingKey::from_rsa_der(der.as_bytes()) })
    }

    /// Signs `claims`, with `iss`, `aud`, `iat` and `exp` added where they are absent.
    pub(crate) fn token(&self, audience: &str, mut claims: Value) -> String {
        let now = clock::now().as_secs();
        if let Some(claims) = claims.as_object_mut() {
            for (name, value) in [
                ("iss", Value::from(self.server.url.as_str())),
                ("aud", audience.into()),
                ("iat", now.into()),
                ("exp", (now + LIFETIME_SECONDS).into()),
            ] {
                claims.entry(name).or_insert(value);
            }
        }
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        // Signing fails only for a damaged key, and an empty token is refused by everyone.
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap_or_default()
    }
}

fn key(path: Option<&Path>) -> Result<RsaPrivateKey> {
    let cannot = "cannot keep the issuer's key";
    if let Some(path) = path
        && let Some(der) = files::read(path).map_err(Error::because(cannot))?
    {
        return RsaPrivateKey::from_pkcs1_der(&der)
            .map_err(Error::because(format!("{} is damaged", path.display())));
    }
    let key = RsaPrivateKey::new(&mut OsRng, 2048).map_err(Error::because("cannot make an RSA key"))?;
    if let Some(path) = path {
        let der = key.to_pkcs1_der().map_err(Error::because(cannot))?;
        files::replace(path, der.as_bytes()).map_err(Error::because(cannot))?;
    }
    Ok(key)
}
