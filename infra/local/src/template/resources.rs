//! The resource properties that the local stack reads from the template.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use dynoxide::types::{
    AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement, LocalSecondaryIndex,
    ProvisionedThroughput,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IgnoredAny},
};
use serde_json::Value;

use super::scalar::Scalar;

/// The properties of one resource type.
pub(crate) trait Properties: DeserializeOwned {
    const TYPE: &str;
}

macro_rules! resource_types {
    ($($properties:ident = $name:literal,)*) => {
        $(impl Properties for $properties {
            const TYPE: &str = $name;
        })*
    };
}

resource_types! {
    Alias = "AWS::KMS::Alias",
    Api = "AWS::ApiGatewayV2::Api",
    Authorizer = "AWS::ApiGatewayV2::Authorizer",
    EventSourceMapping = "AWS::Lambda::EventSourceMapping",
    Function = "AWS::Serverless::Function",
    Integration = "AWS::ApiGatewayV2::Integration",
    InvokePermission = "AWS::Lambda::Permission",
    KmsKey = "AWS::KMS::Key",
    Role = "AWS::IAM::Role",
    Route = "AWS::ApiGatewayV2::Route",
    Schedule = "AWS::Scheduler::Schedule",
    Stage = "AWS::ApiGatewayV2::Stage",
    Table = "AWS::DynamoDB::Table",
}

/// One resource with its properties resolved.
#[derive(Debug)]
pub(crate) struct Resource<P> {
    pub id: String,
    /// The ids of the resources that must be created before this one.
    pub depends_on: Vec<String>,
    pub metadata: Metadata,
    pub properties: P,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Metadata {
    build_properties: Option<BuildProperties>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BuildProperties {
    binary: String,
}

/// Refuses properties that are not listed here, because ignoring them would make the local table differ from the
/// deployed one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Table {
    pub attribute_definitions: Vec<AttributeDefinition>,
    pub key_schema: Vec<KeySchemaElement>,
    pub billing_mode: Option<String>,
    pub deletion_protection_enabled: Option<Scalar<bool>>,
    pub global_secondary_indexes: Option<Vec<GlobalSecondaryIndex>>,
    pub local_secondary_indexes: Option<Vec<LocalSecondaryIndex>>,
    pub provisioned_throughput: Option<ProvisionedThroughput>,
    #[serde(rename = "SSESpecification")]
    pub sse_specification: Option<SseSpecification>,
    pub stream_specification: Option<StreamSpecification>,
    pub time_to_live_specification: Option<TimeToLiveSpecification>,
    #[serde(rename = "TableName")]
    _table_name: Option<IgnoredAny>,
    #[serde(rename = "PointInTimeRecoverySpecification")]
    _point_in_time_recovery_specification: Option<IgnoredAny>,
    #[serde(rename = "Tags")]
    _tags: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SseSpecification {
    #[serde(rename = "SSEEnabled")]
    pub enabled: Scalar<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamSpecification {
    pub stream_view_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TimeToLiveSpecification {
    pub attribute_name: String,
    pub enabled: Scalar<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Function {
    #[serde(default)]
    pub environment: Environment,
    pub events: Option<IgnoredAny>,
    pub logging_config: Option<LoggingConfig>,
    pub memory_size: Option<Scalar<u64>>,
    /// The ARN of the role.
    pub role: String,
    pub timeout: Option<Scalar<u64>>,
}

impl Resource<Function> {
    /// Returns the name of the function's binary.
    pub(crate) fn binary(&self) -> Result<&str> {
        let build = self.metadata.build_properties.as_ref();
        let build = build
            .with_context(|| format!("{}: Metadata.BuildProperties.Binary is missing", self.id))?;
        Ok(&build.binary)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Environment {
    pub variables: BTreeMap<String, Scalar<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LoggingConfig {
    /// The name of the log group.
    pub log_group: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Role {
    #[serde(default)]
    pub policies: Vec<RolePolicy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RolePolicy {
    pub policy_document: PolicyDocument,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PolicyDocument {
    #[serde(deserialize_with = "one_or_many")]
    pub statement: Vec<Statement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    pub sid: Option<String>,
    pub effect: String,
    #[serde(deserialize_with = "one_or_many")]
    pub action: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub resource: Vec<String>,
    /// Present only in resource-based policies.
    #[serde(default)]
    pub principal: Principal,
    pub condition: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Principal {
    #[serde(rename = "AWS", default, deserialize_with = "one_or_many")]
    pub aws: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KmsKey {
    #[serde(default)]
    pub description: String,
    pub key_policy: Value,
    pub key_spec: String,
    pub multi_region: Option<Scalar<bool>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Alias {
    pub alias_name: String,
    pub target_key_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EventSourceMapping {
    pub batch_size: Option<Scalar<usize>>,
    pub bisect_batch_on_function_error: Option<Scalar<bool>>,
    destination_config: Option<DestinationConfig>,
    pub event_source_arn: String,
    #[serde(default)]
    pub filter_criteria: FilterCriteria,
    pub function_name: String,
    #[serde(default)]
    pub function_response_types: Vec<String>,
    /// -1 means unlimited retries.
    pub maximum_retry_attempts: Option<Scalar<i64>>,
    pub starting_position: String,
}

impl EventSourceMapping {
    /// Returns the ARN of the queue for batches that failed.
    pub(crate) fn on_failure(&self) -> Option<&str> {
        let destinations = self.destination_config.as_ref()?;
        Some(&destinations.on_failure.as_ref()?.destination)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DestinationConfig {
    on_failure: Option<OnFailure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnFailure {
    destination: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Schedule {
    pub schedule_expression: String,
    pub target: ScheduleTarget,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ScheduleTarget {
    pub arn: String,
    pub role_arn: String,
    /// JSON that may contain keywords.
    pub input: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FilterCriteria {
    pub filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Filter {
    pub pattern: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Api {
    pub cors_configuration: Option<CorsConfiguration>,
}

/// Refuses `AllowCredentials`, because the gateway does not implement it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CorsConfiguration {
    #[serde(default)]
    pub allow_headers: Vec<String>,
    #[serde(default)]
    pub allow_methods: Vec<String>,
    #[serde(default)]
    pub allow_origins: Vec<String>,
    #[serde(default)]
    pub expose_headers: Vec<String>,
    pub max_age: Option<Scalar<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stage {
    #[serde(default)]
    pub default_route_settings: RouteSettings,
    /// The settings of individual routes, by route key.
    #[serde(default)]
    pub route_settings: BTreeMap<String, RouteSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RouteSettings {
    pub throttling_burst_limit: Option<Scalar<f64>>,
    pub throttling_rate_limit: Option<Scalar<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Route {
    #[serde(default)]
    pub authorization_scopes: Vec<String>,
    pub authorization_type: Option<String>,
    pub authorizer_id: Option<String>,
    pub route_key: String,
    pub target: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InvokePermission {
    pub action: String,
    pub function_name: String,
    pub principal: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Integration {
    pub integration_type: String,
    pub integration_uri: String,
    pub payload_format_version: String,
    #[serde(default)]
    pub request_parameters: BTreeMap<String, String>,
    pub timeout_in_millis: Option<Scalar<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "AuthorizerType", rename_all_fields = "PascalCase")]
pub(crate) enum Authorizer {
    #[serde(rename = "JWT")]
    Jwt {
        identity_source: Vec<String>,
        jwt_configuration: JwtConfiguration,
    },
    #[serde(rename = "REQUEST")]
    Request {
        authorizer_payload_format_version: String,
        authorizer_result_ttl_in_seconds: Option<Scalar<u64>>,
        authorizer_uri: String,
        enable_simple_responses: Option<Scalar<bool>>,
        #[serde(default)]
        identity_source: Vec<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct JwtConfiguration {
    pub audience: Vec<String>,
    pub issuer: String,
}

/// Deserializes a list, or a single item given in place of a list.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = match Value::deserialize(deserializer)? {
        Value::Array(items) => items,
        item => vec![item],
    };
    let items = items.into_iter().map(serde_json::from_value);
    items.collect::<Result<_, _>>().map_err(D::Error::custom)
}
