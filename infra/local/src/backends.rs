//! The services that the functions call: DynamoDB, KMS and EventBridge. Each is behind a proxy that checks
//! permissions and injects faults.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};

use crate::{
    dynamo::{self, Dynamo},
    event_bridge::EventBridge,
    iam::{Permissions, Service},
    kms::{CreateAlias, CreateKey, Kms},
    proxy::Faults,
    template::{Alias, KmsKey, Resource, Scalar, Table, Template},
    web::Server,
};

pub(crate) struct Backends {
    // Fields are dropped in declaration order, so the proxies stop first.
    pub dynamodb_proxy: Server,
    pub kms_proxy: Server,
    pub event_bridge_proxy: Server,
    pub kms_server: Server,
    pub event_bridge: EventBridge,
    _event_bridge_server: Server,
    pub dynamo: Dynamo,
    pub kms: Arc<Kms>,
    /// The ARN of the template's KMS key.
    pub signing_key: String,
    pub faults: Faults,
    pub permissions: Permissions,
}

impl Backends {
    /// Starts the services with the template's table and keys. Sets the attributes of these resources in the template.
    pub(crate) async fn start(template: &mut Template, data: Option<&Path>) -> Result<Self> {
        let dynamo = start_table(template, data).await?;
        let kms = Kms::open(data)?;
        let signing_key = create_keys(template, &kms).await?;
        create_aliases(template, &kms)?;
        let kms_server = kms.serve().await?;
        let event_bridge = EventBridge::new();
        let event_bridge_server = event_bridge.serve().await?;
        let (faults, permissions) = (Faults::default(), Permissions::read(template, &kms)?);
        let dynamodb_proxy = faults.serve(Service::DynamoDb, &dynamo.url, &permissions);
        let kms_proxy = faults.serve(Service::Kms, &kms_server.url, &permissions);
        let event_bridge_url = &event_bridge_server.url;
        let event_bridge_proxy = faults.serve(Service::EventBridge, event_bridge_url, &permissions);
        Ok(Self {
            dynamodb_proxy: dynamodb_proxy.await?,
            kms_proxy: kms_proxy.await?,
            event_bridge_proxy: event_bridge_proxy.await?,
            kms_server,
            event_bridge,
            _event_bridge_server: event_bridge_server,
            dynamo,
            kms,
            signing_key,
            faults,
            permissions,
        })
    }
}

/// Opens the database and creates the template's only table if it does not exist yet. Sets the ARN of the table's
/// stream in the template.
async fn start_table(template: &mut Template, data: Option<&Path>) -> Result<Dynamo> {
    let mut tables = template.of_type::<Table>()?;
    let (Some(table), []) = (tables.pop(), tables.as_slice()) else {
        bail!("the local stack needs a template with exactly one table");
    };
    let id = table.id.clone();
    let name = template.attribute(&id, "Ref").unwrap_or_default();
    let dynamo = dynamo::start(data, table, name).await?;
    if let Some(stream) = &dynamo.stream {
        template.set(&id, "StreamArn", dynamo::public_arn(stream));
    }
    Ok(dynamo)
}

/// Creates any of the template's KMS keys that do not exist yet. Returns the ARN of the first key.
async fn create_keys(template: &mut Template, kms: &Arc<Kms>) -> Result<String> {
    let mut first = None;
    for Resource { id, properties, .. } in template.of_type::<KmsKey>()? {
        let request = CreateKey {
            description: properties.description,
            multi_region: properties.multi_region.is_some_and(|Scalar(yes)| yes),
            ..CreateKey::to_sign(
                &properties.key_spec,
                Some(properties.key_policy.to_string()),
            )
        };
        let (kms, logical_id) = (kms.clone(), id.clone());
        let create = move || kms.template_key(&logical_id, request);
        let created = tokio::task::spawn_blocking(create).await;
        let arn = created
            .context("the KMS task failed")?
            .with_context(|| format!("cannot create the key {id}"))?;
        template.set(&id, "Ref", arn.rsplit('/').next().unwrap_or_default());
        template.set(&id, "Arn", arn.as_str());
        first.get_or_insert(arn);
    }
    first.context("the template has no KMS key")
}

/// Creates any of the template's aliases that do not exist yet. Like CloudFormation, leaves an alias alone if somebody
/// has moved it to another key.
fn create_aliases(template: &Template, kms: &Kms) -> Result<()> {
    for Resource { properties, .. } in template.of_type::<Alias>()? {
        let Alias {
            alias_name,
            target_key_id,
        } = properties;
        if !kms.has_alias(&alias_name) {
            kms.create_alias(CreateAlias {
                alias_name,
                target_key_id,
            })?;
        }
    }
    Ok(())
}
