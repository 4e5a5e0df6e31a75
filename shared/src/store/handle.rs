//! The handle to the table. A Lambda function holds the handle and passes it to services, but cannot use it to read or
//! write, because all methods of the handle except [`Store::warm_up`] are private to this crate.

use std::time::Duration;

use super::table::Table;
use crate::process::{
    aws::{AwsSettings, warmed_up},
    config::{self, Environment},
};

/// The table, accessed through the SDK's client.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) table: Table,
    /// How long an entry in the audit trail stays in the table.
    pub(super) audit_retention: Duration,
}

impl Store {
    /// Reads `TABLE_NAME` and `AUDIT_RETENTION_DAYS`.
    pub(crate) fn read(environment: &mut Environment<'_>, aws: &AwsSettings) -> Self {
        Self {
            table: Table::new(aws.dynamodb(), environment.required("TABLE_NAME")),
            audit_retention: config::audit_retention(environment),
        }
    }

    /// Connects to DynamoDB in the init phase, when a function has a full CPU. If DynamoDB does not respond within a
    /// second, the first request opens the connection instead.
    pub async fn warm_up(&self) {
        warmed_up("DynamoDB", async { self.table.warm_up().await.is_ok() }).await;
    }
}
