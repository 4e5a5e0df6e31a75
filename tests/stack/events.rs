//! Events that API Gateway would never send, and events with content that only a hostile client would send.
//! `tests/release` sends the same events to a release binary.

use harness::{Tenant, events, run, stack};
use serde_json::Value;

/// Returns every function, with its sample event if there is one.
fn functions() -> Vec<(String, Option<Value>)> {
    let with_event = |name: &str| (name.to_owned(), events::find(name));
    stack().function_names().map(with_event).collect()
}

#[test]
fn no_response_or_log_line_contains_a_secret_from_an_event() {
    run(async {
        let tenant = Tenant::fresh();
        let (_, key) = tenant.key("admin", "viewer").await;
        let secret = &key[key.len() - 60..];
        let mut answers = Vec::new();
        for (function, event) in functions() {
            let mut events = events::foreign(&key);
            if let Some(event) = event {
                let event = events::with_secret(event, &key);
                events.extend(events::distorted(&event));
                events.push(event);
            }
            for event in events {
                let answer = stack().invoke(&function, event).await;
                answers.push(format!("{function}: {answer:?}"));
            }
        }
        for answer in answers {
            assert!(!answer.contains(secret), "{answer}");
        }
        for line in stack().logs() {
            assert!(!line.line.contains(secret), "{}", line.line);
        }
    });
}

#[test]
fn an_unusual_request_returns_the_same_status_as_a_usual_one() {
    run(async {
        let status = async |function: &str, event: Value| {
            let answer = stack().invoke(function, event).await.unwrap();
            answer["statusCode"].as_u64().unwrap_or_default()
        };
        for function in ["validate", "list", "users", "clusters", "jwks", "console"] {
            let event = events::sample(function);
            let usual = status(function, event.clone()).await;
            for (place, unusual) in events::unusual(&event) {
                let answered = status(function, unusual).await;
                assert_eq!(answered, usual, "{function}: {place}");
            }
        }
    });
}

#[test]
fn a_malformed_body_or_query_returns_a_client_error() {
    run(async {
        let processes = stack().process_ids("validate");
        for (place, event) in events::damaged(&events::sample("validate")) {
            let answer = stack().invoke("validate", event).await.unwrap();
            let status = answer["statusCode"].as_u64().unwrap();
            assert!((400..500).contains(&status), "{place}: {answer}");
        }
        let after = stack().process_ids("validate");
        assert!(processes.iter().all(|process| after.contains(process)));
    });
}
