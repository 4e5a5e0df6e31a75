//! `POST /access-token/api/v1/process`: onboards a cluster or a node. Clients send no Content-Type, and send the key in
//! both the header and the body.

use std::{ops::Not, str::FromStr};

use lambda_http::Request;
use serde::{Deserialize, Serialize};

use crate::{
    http::{
        Error, bearer_key,
        body::{self, Errors, Text},
    },
    model::{ClusterName, ClusterType, NodeName},
    service::{Joined, Joining},
    token::AccessKey,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProcessBody {
    token: Text<String>,
    cluster_name: Text<Given<ClusterName>>,
    node_name: Text<Given<NodeName>>,
    r#type: Text<String>,
}

/// A name, or `None` for the empty string that clients send in place of a missing name.
struct Given<T>(Option<T>);

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_given = !text.is_empty();
        is_given.then(|| text.parse()).transpose().map(Self)
    }
}

/// An onboarding request, apart from its key. The key is verified before the other fields are checked.
pub struct Process {
    body: ProcessBody,
    errors: Errors,
}

impl Process {
    /// Reads the body and the key.
    ///
    /// # Errors
    /// Fails if the body is not a JSON object, the key is missing, or the header and the body contain different keys.
    pub fn read(request: &Request) -> Result<(AccessKey, Self), Error> {
        let (mut body, mut errors) = body::read_leniently::<ProcessBody>(request)?;
        let in_body = errors.text("token", std::mem::take(&mut body.token));
        let in_body = in_body.map(AccessKey::new);
        let in_body = in_body.filter(|key| !key.reveal().is_empty());
        let key = match (bearer_key(request.headers()), in_body) {
            (Some(header), Some(body)) if header.reveal() != body.reveal() => {
                return Err(Error::field(
                    "token",
                    "must be the same access key as in the Authorization header",
                ));
            }
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => {
                return Err(Error::MissingKey(
                    "an access key is required: send it as Authorization: Bearer or in the field token",
                ));
            }
        };
        Ok((key, Self { body, errors }))
    }

    /// Returns the cluster or node to onboard.
    ///
    /// # Errors
    /// Fails if a field is invalid. The error lists every such field.
    pub fn joining(self) -> Result<Joining, Error> {
        let Self { body, mut errors } = self;
        let cluster = errors.text("cluster_name", body.cluster_name);
        let cluster = cluster.and_then(|Given(name)| name);
        let node = errors.text("node_name", body.node_name);
        let node = node.and_then(|Given(name)| name);
        let kind = errors.text("type", body.r#type);
        let kind = kind.map(|kind| kind.to_ascii_lowercase());
        let cluster_kind = match kind.as_deref() {
            Some("vm") => Some(ClusterType::Vm),
            Some("k8s") => Some(ClusterType::K8s),
            _ => None,
        };
        let joining = match (kind.as_deref(), cluster_kind, cluster, node) {
            (_, Some(kind), Some(name), node) => Ok(Joining::Cluster { name, kind, node }),
            (_, Some(_), cluster @ None, Some(node)) | (Some("node"), _, cluster, Some(node)) => {
                Ok(Joining::Node { cluster, node })
            }
            (Some("node"), _, Some(_), None) => Err(("node_name", "is required")),
            (Some("node"), _, None, None) | (_, Some(_), None, None) => {
                Err(("cluster_name", "is required"))
            }
            _ => Err(("type", "must be vm, Node or K8s, in upper or lower case")),
        };
        match joining {
            Ok(joining) => errors.finish().map(|()| joining),
            Err((field, rule)) => {
                errors.add_first(field, rule);
                Err(errors.into_error())
            }
        }
    }
}

/// AccuKnox's clients ignore the fields that describe the access key.
#[derive(Serialize)]
pub struct ProcessAnswer<'a> {
    join_token: &'a str,
    message: &'static str,
    access_key_expires_at: String,
    #[serde(skip_serializing_if = "Not::not")]
    access_key_superseded: bool,
}

impl<'a> From<&'a Joined> for ProcessAnswer<'a> {
    fn from(joined: &'a Joined) -> Self {
        Self {
            join_token: joined.token.reveal(),
            message: "success",
            access_key_expires_at: joined.key_expires_at.to_string(),
            access_key_superseded: joined.is_superseded,
        }
    }
}
