//! Publishes the audit trail: each entry that is added to the table becomes an event. If an entry could not be written
//! together with the change that it records, it waits in another item until this module adds it to the audit trail. The
//! entry then becomes an event like any other. The first use of a replaced secret also becomes an event, although the
//! audit trail has no entry for it.

use crate::{
    bus::{Bus, BusError, Event},
    model::{Happening, Timestamp},
    process::metrics::{self, Metric},
    store::{Outgoing, Store, StoreError, StreamRecord},
};

/// Why a stream record was not processed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Converts a `Happening` to an `Event`. `render` returns the JSON of the event's detail.
pub(super) fn event(happening: Happening, render: impl Fn(Happening) -> String) -> Event {
    Event {
        detail_type: happening.name(),
        time: happening.time(),
        detail: render(happening),
    }
}

/// Handles records of the table's stream, each of which is paired with a tag. `render` returns the JSON of an event's
/// detail. Returns the tags of the records that failed and must be delivered again. Events are sent at least once. A
/// waiting entry is added to the audit trail only once.
pub async fn publish_entries<T>(
    (store, bus): (&Store, &Bus),
    records: Vec<(T, StreamRecord)>,
    render: impl Fn(Happening) -> String,
    now: Timestamp,
) -> Vec<(T, PublishError)> {
    let (mut tags, mut events, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (tag, record) in records {
        let Outgoing { event, pending } = match record.into_outgoing() {
            Ok(outgoing) => outgoing,
            Err(error) => {
                failed.push((tag, error.into()));
                continue;
            }
        };
        if let Some(pending) = pending
            && let Err(error) = store.enter_pending(pending, now).await
        {
            failed.push((tag, error.into()));
            continue;
        }
        if let Some(happening) = event {
            tags.push(tag);
            events.push(self::event(happening, &render));
        }
    }
    for (tag, sent) in tags.into_iter().zip(bus.send(&events).await) {
        if let Err(error) = sent {
            failed.push((tag, error.into()));
        }
    }
    for _ in &failed {
        metrics::count(Metric::EventFailed);
    }
    failed
}
