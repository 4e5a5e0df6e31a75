//! DynamoDB: an embedded dynoxide database with the template's table.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use dynoxide::{
    Database, DynoxideError,
    actions::{
        create_table::{CreateTableRequest, StreamSpecification},
        describe_table::DescribeTableRequest,
        update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest},
    },
    types::SseSpecification,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use crate::{
    template::{REGION, Resource, Table},
    web,
};

const GRACE: Duration = Duration::from_secs(2);

/// A running DynamoDB server and its database.
pub(crate) struct Dynamo {
    pub database: Database,
    pub table: String,
    /// The ARN that dynoxide uses for the stream. Functions see the ARN that [`public_arn`] returns.
    pub stream: Option<String>,
    pub url: String,
    stop: Arc<Notify>,
    server: JoinHandle<std::result::Result<(), String>>,
}

impl Dynamo {
    /// Stops the server. Requests in progress have up to [`GRACE`] to finish.
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

/// Replaces the region in an ARN from dynoxide with the region of the local stack.
pub(crate) fn public_arn(arn: &str) -> String {
    arn.replacen(":dynoxide:", &format!(":{REGION}:"), 1)
}

/// Opens the database. Creates the table if the table does not exist yet.
pub(crate) async fn start(
    data: Option<&Path>,
    table: Resource<Table>,
    name: &str,
) -> Result<Dynamo> {
    let path = data.map(|data| data.join("dynamodb.sqlite"));
    let table_name = name.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let database = open(path.as_deref())?;
        let stream = ensure_table(&database, table, &table_name)?;
        Ok::<_, anyhow::Error>((database, stream))
    });
    let (database, stream) = opened.await.context("DynamoDB did not start")??;
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

fn open(path: Option<&Path>) -> Result<Database> {
    match path {
        Some(path) => Database::new(&path.to_string_lossy())
            .with_context(|| format!("cannot open {}", path.display())),
        None => Database::memory().context("cannot open an in-memory database"),
    }
}

/// Creates the table if it does not exist yet, and returns the ARN of its stream.
fn ensure_table(
    database: &Database,
    Resource { id, properties, .. }: Resource<Table>,
    name: &str,
) -> Result<Option<String>> {
    let time_to_live = properties
        .time_to_live_specification
        .as_ref()
        .filter(|time_to_live| time_to_live.enabled.0)
        .map(|time_to_live| time_to_live.attribute_name.clone());
    let request = DescribeTableRequest {
        table_name: name.to_owned(),
    };
    let description = match database.describe_table(request) {
        Ok(response) => response.table,
        Err(DynoxideError::ResourceNotFoundException(_)) => {
            database
                .create_table(create_request(properties, name))
                .with_context(|| format!("cannot create the table {id}"))?
                .table_description
        }
        Err(error) => return Err(error).context(format!("cannot read the table {name}")),
    };
    if let Some(attribute_name) = time_to_live {
        enable_time_to_live(database, name, attribute_name)?;
    }
    Ok(description.latest_stream_arn)
}

fn create_request(table: Table, name: &str) -> CreateTableRequest {
    CreateTableRequest {
        table_name: name.to_owned(),
        key_schema: table.key_schema,
        attribute_definitions: table.attribute_definitions,
        global_secondary_indexes: table.global_secondary_indexes,
        local_secondary_indexes: table.local_secondary_indexes,
        billing_mode: table.billing_mode,
        provisioned_throughput: table.provisioned_throughput,
        stream_specification: table
            .stream_specification
            .map(|stream| StreamSpecification {
                stream_enabled: true,
                stream_view_type: Some(stream.stream_view_type),
            }),
        sse_specification: table.sse_specification.map(|encryption| SseSpecification {
            enabled: Some(encryption.enabled.0),
            ..Default::default()
        }),
        deletion_protection_enabled: table.deletion_protection_enabled.map(|enabled| enabled.0),
        ..Default::default()
    }
}

fn enable_time_to_live(database: &Database, table: &str, attribute_name: String) -> Result<()> {
    let request = UpdateTimeToLiveRequest {
        table_name: table.to_owned(),
        time_to_live_specification: TimeToLiveSpecification {
            attribute_name,
            enabled: true,
        },
    };
    match database.update_time_to_live(request) {
        Ok(_) => Ok(()),
        // The table already existed, with TTL enabled.
        Err(error) if error.to_string().contains("already enabled") => Ok(()),
        Err(error) => Err(error).context(format!("cannot enable TTL on {table}")),
    }
}
