//! The Amazon EventBridge event bus. Only this module sends events.

use std::sync::Arc;

use aws_sdk_eventbridge::{
    Client,
    error::SdkError,
    operation::put_events::PutEventsError,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use crate::{
    model::Timestamp,
    process::{aws::AwsSettings, config::Environment},
};

/// The `source` of every event. The IAM role of the function `publish` allows no other source.
const SOURCE: &str = "access-keys";
const MOST_ENTRIES: usize = 10;
/// The maximum size of a request, in bytes. EventBridge accepts 1 MB, but parts of its documentation still say 256 KB.
const LARGEST_REQUEST: usize = 256 << 10;

/// An event. Consumers recognize a repeated event by an id in `detail`, because EventBridge assigns a different id to
/// each copy.
pub(crate) struct Event {
    pub detail_type: &'static str,
    pub time: Timestamp,
    /// A JSON object.
    pub detail: String,
}

/// Why an event was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The request that contained the event failed despite the SDK's retries.
    #[error("EventBridge PutEvents")]
    Request(#[source] Arc<SdkError<PutEventsError>>),
    #[error("EventBridge refused the event: {0}")]
    Refused(String),
}

/// The event bus, accessed through the SDK's client.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// Reads `EVENT_BUS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let aws = AwsSettings::read(environment);
        Self {
            client: aws.event_bridge(),
            name: environment.required("EVENT_BUS"),
        }
    }

    /// Sends events in as few requests as possible. Returns one result per event, in the order of `events`.
    pub(crate) async fn send(&self, events: &[Event]) -> Vec<Result<(), BusError>> {
        let mut results = Vec::with_capacity(events.len());
        let mut rest = events;
        while !rest.is_empty() {
            let (request, later) = rest.split_at(fitting(rest));
            match self.put(request).await {
                Ok(answers) => results.extend(answers),
                Err(error) => results.resize(results.len() + request.len(), Err(error)),
            }
            rest = later;
        }
        results
    }

    async fn put(&self, events: &[Event]) -> Result<Vec<Result<(), BusError>>, BusError> {
        let entries = events.iter().map(|event| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(event.detail_type)
                .time(DateTime::from_millis(event.time.as_millis()))
                .detail(&event.detail)
                .build()
        });
        let request = self.client.put_events();
        let answer = request.set_entries(Some(entries.collect())).send().await;
        let answer = answer.map_err(|error| BusError::Request(Arc::new(error)))?;
        let mut entries = answer.entries.unwrap_or_default().into_iter();
        let results = events.iter().map(|_| accepted(entries.next()));
        Ok(results.collect())
    }
}

/// Returns how many events, counted from the first, fit into one request. Returns at least 1, even if the first event
/// is too large.
fn fitting(events: &[Event]) -> usize {
    let mut size = 0;
    let fits = events.iter().take(MOST_ENTRIES).take_while(|event| {
        // EventBridge counts 14 bytes for the time of an event.
        size += 14 + SOURCE.len() + event.detail_type.len() + event.detail.len();
        size <= LARGEST_REQUEST
    });
    fits.count().max(1)
}

/// An event counts as accepted only if EventBridge returned an id and no error for it.
fn accepted(entry: Option<PutEventsResultEntry>) -> Result<(), BusError> {
    let entry = entry.ok_or_else(|| BusError::Refused("no result".to_owned()))?;
    match (entry.event_id, entry.error_code) {
        (Some(_), None) => Ok(()),
        (_, code) => Err(BusError::Refused(
            code.unwrap_or_else(|| "no id".to_owned()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::NOW;

    fn events(sizes: &[usize]) -> Vec<Event> {
        let event = |size: &usize| Event {
            detail_type: "t",
            time: NOW,
            detail: "x".repeat(*size),
        };
        sizes.iter().map(event).collect()
    }

    #[test]
    fn a_request_has_at_most_ten_entries_and_256_kb() {
        let overhead = 14 + SOURCE.len() + 1;
        assert_eq!(fitting(&events(&[1; 9])), 9);
        assert_eq!(fitting(&events(&[1; 11])), 10);
        let half = LARGEST_REQUEST / 2 - overhead;
        assert_eq!(fitting(&events(&[half, half, 1])), 2);
        assert_eq!(fitting(&events(&[half, half + 1])), 1);
        assert_eq!(fitting(&events(&[LARGEST_REQUEST, 1])), 1);
    }

    #[test]
    fn an_event_without_an_id_is_not_accepted() {
        let entry = PutEventsResultEntry::builder;
        assert!(accepted(Some(entry().event_id("1").build())).is_ok());
        for refused in [
            entry().build(),
            entry().error_code("ThrottlingException").build(),
            entry().event_id("1").error_code("InternalFailure").build(),
        ] {
            assert!(accepted(Some(refused)).is_err());
        }
        assert!(accepted(None).is_err());
    }
}
