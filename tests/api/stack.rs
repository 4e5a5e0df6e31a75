//! The local stack that all tests share, and what only it can show: its requests, its stream, its clock.

use std::{sync::LazyLock, time::Duration};

use local_stack::{Options, Stack};
use serde_json::{Value, json};

use crate::world::{self, Answer, Tenant, now, rfc3339, send};

/// The processes of each function: what one of them remembers, the others do not know.
const PROCESSES: usize = 4;

pub static STACK: LazyLock<Stack> = LazyLock::new(|| {
    let parameters = world::parameters()
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
    let options = Options {
        parameters,
        processes_per_function: PROCESSES,
        ..Options::default()
    };
    world::block_on(Stack::start(options)).expect("the local stack starts")
});

pub fn stack() -> &'static Stack {
    &STACK
}

impl Tenant {
    /// How many requests of functions named this tenant in a DynamoDB request.
    pub fn store_requests(&self) -> usize {
        stack().count(|request| request.body.to_string().contains(&format!("#{}", self.id)))
    }

    /// The first answer that costs the store nothing: each process reads once before it can remember.
    pub async fn remembered(&self, ask: impl Fn() -> reqwest::RequestBuilder) -> Answer {
        for _ in 0..=PROCESSES {
            let before = self.store_requests();
            let answer = send(ask()).await;
            if self.store_requests() == before {
                return answer;
            }
        }
        panic!("every process has read, and none remembers");
    }

    /// Has TTL remove the administrator's key, and the stream processed: what the history then holds.
    pub async fn archived(&self, id: &str) -> Value {
        for _ in 0..200 {
            stack().sweep_ttl().unwrap();
            stack().drain_events().await;
            let items = self.items("admin").await;
            let item = items
                .into_iter()
                .find(|item| item["sk"]["S"] == format!("KEY#{id}").as_str());
            if let Some(item) = item.filter(|item| item.get("hash").is_none()) {
                return item;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the key was not archived");
    }

    /// A Viewer key of the administrator that lives `seconds` from now: its id, its text, its last second plus one.
    pub async fn short_lived(&self, seconds: i64) -> (String, String, i64) {
        let end = now() + seconds;
        let body = json!({ "name": "short", "role": "viewer", "expires_at": rfc3339(end) });
        let (id, key) = self.key_of("admin", body).await;
        (id, key, end)
    }
}
