//! Runs the local stack like `cargo run -- --json --port 0`, for tests in other languages. It can also inject faults.
//!
//! The first line of output is the JSON that `cargo run` prints. After that, each line of input names a function. All
//! further requests from that function to DynamoDB fail. An empty line of input ends all faults. The program
//! acknowledges each line of input with an empty line.

use std::time::Duration;

use anyhow::Result;
use harness::{Fault, Options, Rule, Service, Stack};
use local_stack::demo;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options {
        parameters: demo::with_demo(Vec::new()),
        people: demo::people(),
        ttl_sweep: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let stack = Stack::start(options).await?;
    let users = demo::users(&stack).await?;
    println!("{}", demo::json(&stack, &users));
    let mut lines = BufReader::new(stdin()).lines();
    let mut refused = Vec::new();
    while let Some(function) = lines.next_line().await? {
        if function.is_empty() {
            refused.clear();
        } else {
            let rule = Rule::new(Fault::InternalError).service(Service::DynamoDb);
            refused.push(stack.inject(rule.function(&function)));
        }
        println!();
    }
    stack.stop().await;
    Ok(())
}
