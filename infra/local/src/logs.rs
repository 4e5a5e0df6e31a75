//! The log lines of the functions.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

const REMEMBERED_LINES: usize = 50_000;

/// A line that a process of a function wrote to stdout or stderr.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The name of the function's binary.
    pub function: String,
    pub line: String,
}

/// The latest lines of all functions.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    print: bool,
}

impl Logs {
    /// If `print` is true, every line is also written to stderr.
    pub(crate) fn new(print: bool) -> Self {
        Self {
            print,
            ..Self::default()
        }
    }

    pub(crate) fn all(&self) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    /// Returns the last `count` lines of one function, oldest first.
    pub(crate) fn last(&self, function: &str, count: usize) -> Vec<String> {
        let mut lines = self.all();
        lines.retain(|line| line.function == function);
        let skipped = lines.len().saturating_sub(count);
        let last = lines.into_iter().skip(skipped);
        last.map(|line| line.line).collect()
    }

    /// Collects the output of a process until it ends.
    pub(crate) fn collect(&self, function: &str, output: impl AsyncRead + Unpin + Send + 'static) {
        let (logs, function) = (self.clone(), function.to_owned());
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                logs.add(&function, text);
                line.clear();
            }
        });
    }

    fn add(&self, function: &str, line: String) {
        if self.print {
            eprintln!("{function}: {line}");
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine {
            function: function.to_owned(),
            line,
        });
    }
}
