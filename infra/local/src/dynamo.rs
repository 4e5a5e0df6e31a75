//! DynamoDB: dynoxide, embedded, with the template's table in it.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use dynoxide::{
    Database, DynoxideError,
    actions::{
        create_table::CreateTableRequest, describe_table::DescribeTableRequest,
        update_time_to_live::UpdateTimeToLiveRequest,
    },
};
use serde_json::{Map, Value, json};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use crate::{
    template::{REGION, Resource, flag},
    web,
};

const GRACE: Duration = Duration::from_secs(2);

/// A running DynamoDB.
pub(crate) struct Dynamo {
    pub database: Database,
    pub table: String,
    /// The stream as dynoxide names it; the world sees `public_arn` of it.
    pub stream: Option<String>,
    pub url: String,
    stop: Arc<Notify>,
    server: JoinHandle<std::result::Result<(), String>>,
}

impl Dynamo {
    /// Ends the server; connections under way get a moment to finish.
    pub(crate) async fn stop(&mut self) {
        self.stop.notify_one();
        let _ = timeout(GRACE, &mut self.server).await;
    }
}

impl Drop for Dynamo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An ARN of dynoxide's, in the region that everything else here is in.
pub(crate) fn public_arn(arn: &str) -> String {
    arn.replacen(":dynoxide:", &format!(":{REGION}:"), 1)
}

/// Opens the database and creates the table if it is not there yet.
pub(crate) async fn start(data: Option<&Path>, resource: &Resource, name: &str) -> Result<Dynamo> {
    let path = data.map(|data| data.join("dynamodb.sqlite"));
    let (resource, table) = (resource.clone(), name.to_owned());
    let (database, stream) =
        tokio::task::spawn_blocking(move || open(path.as_deref(), &resource, &table))
            .await
            .context("DynamoDB did not start")??;
    let listener = web::bind(0).await?;
    let url = web::url(&listener)?;
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let server = tokio::spawn(dynoxide::server::serve_with_shutdown(
        listener,
        database.clone(),
        async move {
            stopped.notified().await;
        },
    ));
    Ok(Dynamo {
        database,
        table: name.to_owned(),
        stream,
        url,
        stop,
        server,
    })
}

fn open(
    path: Option<&Path>,
    resource: &Resource,
    table: &str,
) -> Result<(Database, Option<String>)> {
    let database = match path {
        Some(path) => Database::new(&path.to_string_lossy())
            .with_context(|| format!("cannot open {}", path.display()))?,
        None => Database::memory().context("cannot open a database in memory")?,
    };
    let description = match database.describe_table(DescribeTableRequest {
        table_name: table.to_owned(),
    }) {
        Ok(answer) => answer.table,
        Err(DynoxideError::ResourceNotFoundException(_)) => {
            let cannot = || format!("cannot create the table {}", resource.id);
            let request: CreateTableRequest =
                serde_json::from_value(create_table(resource, table)?).with_context(cannot)?;
            database
                .create_table(request)
                .with_context(cannot)?
                .table_description
        }
        Err(error) => {
            return Err(error).context(format!("cannot read the table {table}"));
        }
    };
    let ttl = &resource.properties["TimeToLiveSpecification"];
    if flag(&ttl["Enabled"]) {
        let mut request = UpdateTimeToLiveRequest {
            table_name: table.to_owned(),
            ..Default::default()
        };
        request.time_to_live_specification.attribute_name =
            ttl["AttributeName"].as_str().unwrap_or_default().to_owned();
        request.time_to_live_specification.enabled = true;
        // A table that was there already has it: "TimeToLive is already enabled".
        if let Err(error) = database.update_time_to_live(request)
            && !error.to_string().contains("already enabled")
        {
            return Err(error).context(format!("cannot enable TTL on {table}"));
        }
    }
    Ok((database, description.latest_stream_arn))
}

/// The template's properties as the request that creates the table.
fn create_table(resource: &Resource, table: &str) -> Result<Value> {
    let Value::Object(properties) = &resource.properties else {
        bail!("the table {} has no properties", resource.id);
    };
    let mut request = Map::from_iter([("TableName".to_owned(), table.into())]);
    for (name, value) in properties {
        let value = match name.as_str() {
            "AttributeDefinitions"
            | "BillingMode"
            | "GlobalSecondaryIndexes"
            | "KeySchema"
            | "LocalSecondaryIndexes"
            | "ProvisionedThroughput"
            | "TableName" => value.clone(),
            "DeletionProtectionEnabled" => flag(value).into(),
            "SSESpecification" => json!({ "Enabled": flag(&value["SSEEnabled"]) }),
            "StreamSpecification" => {
                json!({ "StreamEnabled": true, "StreamViewType": value["StreamViewType"] })
            }
            // The one is set by a call of its own, the others mean nothing on one machine.
            "TimeToLiveSpecification" | "PointInTimeRecoverySpecification" | "Tags" => continue,
            _ => {
                bail!("{}: the local stack does not know {name}", resource.id);
            }
        };
        request.insert(name.clone(), value);
    }
    Ok(Value::Object(request))
}
