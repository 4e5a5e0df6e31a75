//! EventBridge: accepts events over the real protocol and keeps the latest ones. It has no rules and no targets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use axum::{Router, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    clock,
    kms::{error, json_1_1},
    template::{ACCOUNT, REGION},
    web::{self, Server},
};

const REMEMBERED: usize = 20_000;
const MOST_ENTRIES: usize = 10;
const LARGEST_REQUEST: usize = 1 << 20;

/// The accepted events, in the form in which EventBridge delivers them to targets.
#[derive(Clone)]
pub(crate) struct EventBridge {
    accepted: Arc<Mutex<VecDeque<Value>>>,
    live: broadcast::Sender<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    source: String,
    detail_type: String,
    detail: String,
    /// Seconds since 1970.
    time: Option<f64>,
    resources: Vec<String>,
}

impl EventBridge {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Arc::default(),
            live: broadcast::Sender::new(REMEMBERED),
        }
    }

    pub(crate) async fn serve(&self) -> Result<Server> {
        let router = Router::new().fallback(answer).with_state(self.clone());
        web::serve(web::bind(0).await?, router)
    }

    /// Returns the latest events, oldest first.
    pub(crate) fn events(&self) -> Vec<Value> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().cloned().collect()
    }

    /// Returns a receiver for the events that are accepted after this call.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Value> {
        self.live.subscribe()
    }

    fn accept(&self, event: Value) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted.len() == REMEMBERED {
            accepted.pop_front();
        }
        accepted.push_back(event.clone());
        drop(accepted);
        // Sending fails if there are no subscribers, which is not an error here.
        let _ = self.live.send(event);
    }

    fn put(&self, PutEvents { entries }: PutEvents) -> Result<Value, String> {
        if !(1..=MOST_ENTRIES).contains(&entries.len()) {
            return Err(format!(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length \
                 between 1 and {MOST_ENTRIES}"
            ));
        }
        if entries.iter().map(Entry::size).sum::<usize>() > LARGEST_REQUEST {
            return Err("Total size of the entries in the request is over the limit.".to_owned());
        }
        let mut failed = 0;
        let results = entries.into_iter().map(|entry| match entry.into_event() {
            Ok(event) => {
                let id = event["id"].clone();
                self.accept(event);
                json!({ "EventId": id })
            }
            Err((code, message)) => {
                failed += 1;
                json!({ "ErrorCode": code, "ErrorMessage": message })
            }
        });
        let results: Vec<_> = results.collect();
        Ok(json!({ "FailedEntryCount": failed, "Entries": results }))
    }
}

impl Entry {
    /// Returns the size of the entry, as EventBridge calculates it for its size limit. See "Calculating PutEvents event
    /// entry size" in the EventBridge user guide.
    fn size(&self) -> usize {
        let time = if self.time.is_some() { 14 } else { 0 };
        let resources: usize = self.resources.iter().map(String::len).sum();
        time + self.source.len() + self.detail_type.len() + self.detail.len() + resources
    }

    /// Returns the event, or the code and message of an error.
    fn into_event(self) -> Result<Value, (&'static str, String)> {
        for (name, value) in [
            ("Source", &self.source),
            ("DetailType", &self.detail_type),
            ("Detail", &self.detail),
        ] {
            if value.is_empty() {
                let message = format!(
                    "Parameter {name} is not valid. Reason: {name} is a required argument."
                );
                return Err(("InvalidArgument", message));
            }
        }
        if self.source.starts_with("aws.") {
            let message = "Not authorized for the source.".to_owned();
            return Err(("NotAuthorizedForSourceException", message));
        }
        let detail = serde_json::from_str(&self.detail).ok();
        let detail: Value = detail
            .filter(Value::is_object)
            .ok_or_else(|| ("MalformedDetail", "Detail is malformed.".to_owned()))?;
        let time = self.time.unwrap_or_else(|| clock::now().as_secs_f64());
        let time = jiff::SignedDuration::try_from_secs_f64(time.trunc()).unwrap_or_default();
        let time = jiff::Timestamp::from_duration(time).unwrap_or_default();
        Ok(json!({
            "version": "0",
            "id": Uuid::new_v4(),
            "detail-type": self.detail_type,
            "source": self.source,
            "account": ACCOUNT,
            "time": time.to_string(),
            "region": REGION,
            "resources": self.resources,
            "detail": detail,
        }))
    }
}

async fn answer(State(bridge): State<EventBridge>, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |code: &str, message: &str| error(StatusCode::BAD_REQUEST, code, message);
    match web::operation(&headers) {
        "PutEvents" => match serde_json::from_slice(&body).map(|request| bridge.put(request)) {
            Ok(Ok(response)) => json_1_1(StatusCode::OK, response),
            Ok(Err(message)) => refuse("ValidationException", &message),
            Err(error) => refuse("SerializationException", &error.to_string()),
        },
        operation => refuse(
            "UnknownOperationException",
            &format!("the local EventBridge does not support {operation}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Value {
        json!({ "Source": "a", "DetailType": "b", "Detail": "{\"c\":1}", "Time": 1_700_000_000.5 })
    }

    fn put(bridge: &EventBridge, entries: Vec<Value>) -> Result<Value, String> {
        bridge.put(serde_json::from_value(json!({ "Entries": entries })).unwrap())
    }

    #[test]
    fn an_accepted_entry_has_the_form_in_which_targets_receive_it() {
        let bridge = EventBridge::new();
        let response = put(&bridge, vec![entry()]).unwrap();
        assert_eq!(response["FailedEntryCount"], 0);
        let [event] = &bridge.events()[..] else {
            panic!("one event");
        };
        assert_eq!(event["id"], response["Entries"][0]["EventId"]);
        assert_eq!(event["time"], "2023-11-14T22:13:20Z");
        let named = [&event["source"], &event["detail-type"], &event["detail"]];
        assert_eq!(named, [&json!("a"), &json!("b"), &json!({ "c": 1 })]);
    }

    #[test]
    fn an_invalid_entry_is_refused_and_the_others_are_accepted() {
        let bridge = EventBridge::new();
        for (field, value, code) in [
            ("Source", "", "InvalidArgument"),
            ("DetailType", "", "InvalidArgument"),
            ("Detail", "", "InvalidArgument"),
            ("Detail", "{", "MalformedDetail"),
            ("Detail", "[]", "MalformedDetail"),
            ("Source", "aws.kms", "NotAuthorizedForSourceException"),
        ] {
            let mut bad = entry();
            bad[field] = json!(value);
            let response = put(&bridge, vec![bad, entry()]).unwrap();
            assert_eq!(response["FailedEntryCount"], 1);
            assert_eq!(response["Entries"][0]["ErrorCode"], code);
            assert!(response["Entries"][1]["EventId"].is_string());
        }
        assert_eq!(bridge.events().len(), 6);
    }

    #[test]
    fn a_request_with_too_many_or_too_large_entries_is_refused() {
        let bridge = EventBridge::new();
        assert!(put(&bridge, vec![]).is_err());
        assert!(put(&bridge, vec![entry(); MOST_ENTRIES + 1]).is_err());
        let mut large = entry();
        let rest = LARGEST_REQUEST - 14 - 2 - "{\"c\":\"\"}".len();
        large["Detail"] = json!(format!("{{\"c\":\"{}\"}}", "x".repeat(rest)));
        assert!(put(&bridge, vec![large.clone()]).is_ok());
        large["Time"] = Value::Null;
        assert!(put(&bridge, vec![large, entry()]).is_err());
        assert_eq!(bridge.events().len(), 1);
    }
}
