//! The accesses that a request consists of, with the values of their condition keys.
//!
//! For DynamoDB, the condition keys have the names and meanings defined in "Using IAM policy conditions for
//! fine-grained access control" in the DynamoDB developer guide. If the value of a condition key cannot be determined,
//! that condition key is left out, so that a `Null` condition denies the request.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use dynoxide::types::{KeySchemaElement, KeyType};
use serde_json::{Value, json};

use super::expressions::{attribute_names, partition_value, scalar};
use crate::{
    kms::KeyAccess,
    template::{ACCOUNT, REGION, Table, Template},
};

pub(super) const ATTRIBUTES: &str = "dynamodb:Attributes";
pub(super) const EVENT_SOURCE: &str = "events:source";
pub(super) const LEADING_KEYS: &str = "dynamodb:LeadingKeys";
pub(super) const MESSAGE_TYPE: &str = "kms:MessageType";
pub(super) const PRINCIPAL_ARN: &str = "aws:PrincipalArn";
pub(super) const RESOURCE_ALIASES: &str = "kms:ResourceAliases";
pub(super) const RETURN_VALUES: &str = "dynamodb:ReturnValues";
pub(super) const SELECT: &str = "dynamodb:Select";
pub(super) const SIGNING_ALGORITHM: &str = "kms:SigningAlgorithm";

/// An action on a resource, with the values of its condition keys. A request is allowed only if each of its accesses is
/// allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub action: String,
    pub resource: String,
    pub(super) context: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Access {
    /// Returns an access without condition keys.
    pub(crate) fn plain(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            context: BTreeMap::new(),
        }
    }

    /// Formats the values of the condition keys for an error message. The values of `dynamodb:LeadingKeys` are
    /// shortened to their prefixes, because the rest can be a hash.
    pub(crate) fn details(&self) -> String {
        let mut details = String::new();
        for (key, values) in &self.context {
            let prefix = |value: &String| match value.split_once('#') {
                Some((prefix, _)) if *key == LEADING_KEYS => format!("{prefix}#…"),
                _ => value.clone(),
            };
            let values: BTreeSet<String> = values.iter().map(prefix).collect();
            details += &format!(", {key} {}", Vec::from_iter(values).join(" "));
        }
        details
    }

    /// Returns an access to a KMS key.
    pub(super) fn to_key(action: &str, body: &Value, key: &KeyAccess, role_arn: &str) -> Self {
        let mut access = Self::plain(format!("kms:{action}"), key.arn.as_str());
        let one = |value: &str| Some([value.to_owned()].into());
        access.set(PRINCIPAL_ARN, one(role_arn));
        access.set(RESOURCE_ALIASES, Some(key.aliases.clone()));
        if action == "Sign" {
            // KMS's default for `MessageType` is `RAW`.
            let message_type = body["MessageType"].as_str().unwrap_or("RAW");
            access.set(MESSAGE_TYPE, one(message_type));
            access.set(
                SIGNING_ALGORITHM,
                body["SigningAlgorithm"].as_str().and_then(one),
            );
        }
        access
    }

    fn set(&mut self, key: &'static str, values: Option<BTreeSet<String>>) {
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            self.context.insert(key, values);
        }
    }
}

/// Returns the accesses to event buses: one for each entry of a request.
pub(super) fn to_buses(action: &str, body: &Value) -> Vec<Access> {
    if action != "PutEvents" {
        return vec![Access::plain(format!("events:{action}"), "*")];
    }
    let entries = body["Entries"].as_array().into_iter().flatten();
    let access = |entry: &Value| {
        let bus = entry["EventBusName"].as_str().unwrap_or("default");
        let bus = match bus.starts_with("arn:") {
            true => bus.to_owned(),
            false => format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}"),
        };
        let mut access = Access::plain("events:PutEvents", bus);
        let source = entry["Source"].as_str();
        access.set(
            EVENT_SOURCE,
            source.map(|source| [source.to_owned()].into()),
        );
        access
    };
    entries.map(access).collect()
}

/// The tables of the template, keyed by name.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<String, TableKeys>);

struct TableKeys {
    arn: String,
    /// Maps the name of each index to its partition key. `None` stands for the table itself.
    partitions: BTreeMap<Option<String>, String>,
}

impl Tables {
    pub fn read(template: &Template) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for table in template.of_type::<Table>()? {
            let attribute = |name| template.attribute(&table.id, name).map(str::to_owned);
            let Some((name, arn)) = attribute("Ref").zip(attribute("Arn")) else {
                continue;
            };
            let indexes = table.properties.global_secondary_indexes;
            let indexes = indexes.into_iter().flatten();
            let mut schemas: Vec<_> = indexes
                .map(|index| (Some(index.index_name), index.key_schema))
                .collect();
            schemas.push((None, table.properties.key_schema));
            let partitions = schemas
                .into_iter()
                .filter_map(|(index, schema)| Some((index, partition_key(schema)?)))
                .collect();
            tables.insert(name, TableKeys { arn, partitions });
        }
        Ok(Self(tables))
    }

    /// Returns the accesses that an operation needs. A transaction needs one access for each item, and a batch needs
    /// one access for each table.
    pub fn accesses(&self, operation: &str, body: &Value) -> Vec<Access> {
        match operation {
            "TransactWriteItems" | "TransactGetItems" => {
                let items = body["TransactItems"].as_array().into_iter().flatten();
                let items = items.filter_map(Value::as_object).flatten();
                items
                    .map(|(kind, item)| match kind.as_str() {
                        "ConditionCheck" => self.access("ConditionCheckItem", item, None),
                        kind => self.access(&format!("{kind}Item"), item, None),
                    })
                    .collect()
            }
            "BatchGetItem" | "BatchWriteItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                tables
                    .map(|(table, request)| {
                        let mut request = request.as_object().cloned().unwrap_or_default();
                        request.insert("TableName".to_owned(), json!(table));
                        let request = Value::Object(request);
                        self.access(operation, &request, select(&request))
                    })
                    .collect()
            }
            "PutItem" | "UpdateItem" | "DeleteItem" => {
                let mut access = self.access(operation, body, None);
                let returned = body["ReturnValues"].as_str().unwrap_or("NONE");
                let values = access.context.entry(RETURN_VALUES).or_default();
                values.insert(returned.to_owned());
                vec![access]
            }
            _ => vec![self.access(operation, body, select(body))],
        }
    }

    /// Returns an access to the table or index that `body` names.
    fn access(&self, action: &str, body: &Value, select: Option<&str>) -> Access {
        let name = body["TableName"].as_str().unwrap_or_default();
        let table = self.0.get(name);
        let arn = table.map_or(name, |table| &table.arn);
        let index = body["IndexName"].as_str();
        let resource = match index {
            Some(index) => format!("{arn}/index/{index}"),
            None => arn.to_owned(),
        };
        let mut access = Access::plain(format!("dynamodb:{action}"), resource);
        let partition = table.and_then(|table| table.partitions.get(&index.map(str::to_owned)));
        access.set(
            LEADING_KEYS,
            partition.and_then(|partition| leading_keys(body, partition)),
        );
        access.set(ATTRIBUTES, attributes(body));
        access.set(SELECT, select.map(|select| [select.to_owned()].into()));
        // The DynamoDB developer guide does not state whether `dynamodb:ReturnValues` also covers
        // `ReturnValuesOnConditionCheckFailure`. A request that is allowed here must be allowed on AWS in either case,
        // so the policy must accept the values of both parameters.
        let on_failure = body["ReturnValuesOnConditionCheckFailure"].as_str();
        let on_failure = on_failure.map(|values| [values.to_owned()].into());
        access.set(RETURN_VALUES, on_failure);
        access
    }
}

fn partition_key(schema: Vec<KeySchemaElement>) -> Option<String> {
    let mut keys = schema.into_iter();
    let partition = keys.find(|key| key.key_type == KeyType::HASH);
    partition.map(|key| key.attribute_name)
}

/// Returns the `Select` parameter of a read, or the default for that parameter.
fn select(body: &Value) -> Option<&str> {
    let names_attributes = ["ProjectionExpression", "AttributesToGet"]
        .iter()
        .any(|parameter| !body[parameter].is_null());
    let default = if names_attributes {
        "SPECIFIC_ATTRIBUTES"
    } else if body["IndexName"].is_string() {
        "ALL_PROJECTED_ATTRIBUTES"
    } else {
        "ALL_ATTRIBUTES"
    };
    Some(body["Select"].as_str().unwrap_or(default))
}

/// Returns the partition key values of all the items that a request names.
fn leading_keys(body: &Value, partition: &str) -> Option<BTreeSet<String>> {
    if let Some(condition) = body["KeyConditionExpression"].as_str() {
        let names = &body["ExpressionAttributeNames"];
        let values = &body["ExpressionAttributeValues"];
        return Some([partition_value(condition, partition, names, values)?].into());
    }
    keys(body).map(|key| scalar(&key[partition])).collect()
}

/// Returns the primary key or the full item of each entry in a request.
fn keys(body: &Value) -> impl Iterator<Item = &Value> {
    let many = body["Keys"].as_array().into_iter().flatten();
    let one = [&body["Key"], &body["Item"]];
    many.chain(one.into_iter().filter(|key| !key.is_null()))
}

/// Returns the top-level attributes that a request names, including those in conditions.
fn attributes(body: &Value) -> Option<BTreeSet<String>> {
    let mut names: BTreeSet<String> = keys(body)
        .filter_map(Value::as_object)
        .flat_map(|key| key.keys().cloned())
        .collect();
    let listed = body["AttributesToGet"].as_array().into_iter().flatten();
    names.extend(listed.filter_map(Value::as_str).map(str::to_owned));
    for legacy in [
        "AttributeUpdates",
        "Expected",
        "KeyConditions",
        "QueryFilter",
        "ScanFilter",
    ] {
        let named = body[legacy].as_object().into_iter().flatten();
        names.extend(named.map(|(name, _)| name.clone()));
    }
    for expression in [
        "Condition",
        "Filter",
        "KeyCondition",
        "Projection",
        "Update",
    ] {
        if let Some(expression) = body[format!("{expression}Expression")].as_str() {
            names.extend(attribute_names(
                expression,
                &body["ExpressionAttributeNames"],
            )?);
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accesses(operation: &str, body: Value) -> Vec<Access> {
        let partitions = [(None, "pk"), (Some("tenant"), "tenant_pk")];
        let partitions = partitions.map(|(index, key)| (index.map(str::to_owned), key.to_owned()));
        let keys = TableKeys {
            arn: "arn:table".to_owned(),
            partitions: partitions.into(),
        };
        Tables([("keys".to_owned(), keys)].into()).accesses(operation, &body)
    }

    fn key(pk: &str) -> Value {
        json!({ "pk": { "S": pk }, "sk": { "S": "USER" } })
    }

    /// Formats each access as one line.
    fn lines(operation: &str, body: Value) -> Vec<String> {
        let line = |access: Access| {
            let context = access.context.iter();
            let context = context.map(|(key, values)| {
                format!("; {key}: {}", Vec::from_iter(values.clone()).join(" "))
            });
            format!(
                "{} on {}{}",
                access.action,
                access.resource,
                String::from_iter(context)
            )
        };
        accesses(operation, body).into_iter().map(line).collect()
    }

    #[test]
    fn a_write_names_its_key_and_the_attributes_of_its_expressions() {
        let update = json!({
            "TableName": "keys", "Key": key("U#a"), "UpdateExpression": "SET #r = :r, a.b = c",
            "ConditionExpression": "attribute_exists(#h)",
            "ExpressionAttributeNames": { "#r": "role", "#h": "hash" },
        });
        assert_eq!(
            lines("UpdateItem", update),
            [
                "dynamodb:UpdateItem on arn:table; dynamodb:Attributes: a c hash pk role sk; dynamodb:LeadingKeys: U#a; \
              dynamodb:ReturnValues: NONE"
            ]
        );
        let put = json!({ "TableName": "keys", "Item": { "pk": { "S": "T#a" }, "x": { "N": "1" } }, "ReturnValues": "ALL_OLD" });
        assert_eq!(
            lines("PutItem", put),
            [
                "dynamodb:PutItem on arn:table; dynamodb:Attributes: pk x; dynamodb:LeadingKeys: T#a; \
              dynamodb:ReturnValues: ALL_OLD"
            ]
        );
    }

    #[test]
    fn legacy_parameters_name_attributes_too() {
        let update = json!({
            "TableName": "keys", "Key": key("U#a"), "AttributeUpdates": { "role": {} }, "Expected": { "hash": {} },
        });
        let [access] = accesses("UpdateItem", update).try_into().unwrap();
        assert_eq!(
            Vec::from_iter(&access.context[ATTRIBUTES]),
            ["hash", "pk", "role", "sk"]
        );
        let get = json!({ "TableName": "keys", "Key": key("U#a"), "AttributesToGet": ["email"] });
        let [access] = accesses("GetItem", get).try_into().unwrap();
        assert_eq!(
            Vec::from_iter(&access.context[ATTRIBUTES]),
            ["email", "pk", "sk"]
        );
        assert_eq!(
            Vec::from_iter(&access.context[SELECT]),
            ["SPECIFIC_ATTRIBUTES"]
        );
    }

    #[test]
    fn a_transaction_is_an_access_for_each_item_and_a_batch_for_each_table() {
        let item = |pk: &str| json!({ "TableName": "keys", "Key": key(pk) });
        let mut update = item("K#a");
        update["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
        let items = json!([{ "ConditionCheck": item("U#a") }, { "Update": update }]);
        assert_eq!(
            lines("TransactWriteItems", json!({ "TransactItems": items })),
            [
                "dynamodb:ConditionCheckItem on arn:table; dynamodb:Attributes: pk sk; dynamodb:LeadingKeys: U#a",
                "dynamodb:UpdateItem on arn:table; dynamodb:Attributes: pk sk; dynamodb:LeadingKeys: K#a; \
                 dynamodb:ReturnValues: ALL_OLD",
            ]
        );
        let batch = json!({ "RequestItems": { "keys": { "Keys": [key("U#a"), key("C#b")] } } });
        assert_eq!(
            lines("BatchGetItem", batch),
            [
                "dynamodb:BatchGetItem on arn:table; dynamodb:Attributes: pk sk; dynamodb:LeadingKeys: C#b U#a; \
              dynamodb:Select: ALL_ATTRIBUTES"
            ]
        );
    }

    #[test]
    fn the_leading_key_of_a_query_is_that_of_the_table_or_index() {
        let query = |index: Value, condition: &str| {
            lines(
                "Query",
                json!({
                    "TableName": "keys", "IndexName": index, "KeyConditionExpression": condition,
                    "ExpressionAttributeValues": { ":pk": { "S": "KEYS#a" } },
                }),
            )
        };
        assert_eq!(
            query(json!("tenant"), "tenant_pk = :pk"),
            [
                "dynamodb:Query on arn:table/index/tenant; dynamodb:Attributes: tenant_pk; dynamodb:LeadingKeys: KEYS#a; \
              dynamodb:Select: ALL_PROJECTED_ATTRIBUTES"
            ]
        );
        assert_eq!(
            query(Value::Null, "pk = :pk"),
            [
                "dynamodb:Query on arn:table; dynamodb:Attributes: pk; dynamodb:LeadingKeys: KEYS#a; \
              dynamodb:Select: ALL_ATTRIBUTES"
            ]
        );
        let unknown = query(Value::Null, "tenant_pk = :pk");
        assert!(!unknown[0].contains(LEADING_KEYS), "{unknown:?}");
    }

    #[test]
    fn the_keys_of_a_request_that_cannot_be_parsed_are_absent() {
        let update = json!({ "TableName": "keys", "Key": { "pk": "U#a" }, "UpdateExpression": "SET ; a = :a" });
        assert_eq!(
            lines("UpdateItem", update),
            ["dynamodb:UpdateItem on arn:table; dynamodb:ReturnValues: NONE"]
        );
        let other = json!({ "TableName": "arn:table", "Key": key("U#a") });
        let [access] = accesses("GetItem", other).try_into().unwrap();
        assert!(!access.context.contains_key(LEADING_KEYS));
    }
}
