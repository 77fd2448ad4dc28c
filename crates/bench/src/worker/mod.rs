//! A node of the benchmark: one process with one [`doltswarm::Swarm`], told what to do line by
//! line.
//!
//! It ends when its standard input does, so it never outlives the benchmark.

mod alone;
mod bare;
mod memory;
mod node;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use self::node::Node;
use crate::protocol::{Answer, Ask, Request};

pub(crate) use self::alone::Durations;

/// How long the last answers may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a node until it is told to close or its input ends.
pub(crate) async fn run() {
    // Only where asked for: writing a log takes time.
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let (answers, mut queue) = mpsc::unbounded_channel::<Answer>();
    let writer = tokio::spawn(async move {
        let mut output = tokio::io::stdout();
        while let Some(answer) = queue.recv().await {
            let Ok(mut line) = serde_json::to_vec(&answer) else { break };
            line.push(b'\n');
            if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
                break;
            }
        }
    });
    let node = Arc::new(Node::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(ask) = serde_json::from_str::<Ask>(&line) else { break };
        let (node, answers) = (Arc::clone(&node), answers.clone());
        let is_last = matches!(ask.request, Request::Close);
        let task = tokio::spawn(async move {
            let result = node.answer(ask.request).await;
            let _ = answers.send(Answer { id: ask.id, result });
        });
        if is_last {
            let _ = task.await;
            break;
        }
    }
    drop(answers);
    // What is still being waited for keeps the queue open, and must not keep the process alive.
    let _ = timeout(LAST_WORDS, writer).await;
}
