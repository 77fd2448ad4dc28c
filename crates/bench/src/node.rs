//! A node as the benchmark sees it: a child process that answers questions.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{BenchError, BenchResult};
use crate::protocol::{Answer, Ask, Request};

/// How long a node may take for anything but what is measured.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a node may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

type Reply = oneshot::Sender<Result<serde_json::Value, String>>;
/// Who waits for which answer; `None` once the node is gone.
type Waiting = Arc<Mutex<Option<HashMap<u64, Reply>>>>;

/// One process with one node. It is killed when this is dropped.
pub(crate) struct Node {
    name: String,
    child: Child,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Node {
    /// Starts a process that is no node yet.
    pub(crate) fn spawn(name: &str) -> BenchResult<Self> {
        let program = std::env::current_exe()
            .map_err(BenchError::io("find", std::path::Path::new("the program itself")))?;
        let mut child = Command::new(&program)
            .arg("node")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::io("start", &program))?;
        let gone = || BenchError::Node {
            node: name.to_owned(),
            message: "it has no standard input or output".to_owned(),
        };
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(read_answers(output, Arc::clone(&waiting)));
        let input = tokio::sync::Mutex::new(input);
        Ok(Self { name: name.to_owned(), child, input, waiting, next: AtomicU64::new(0) })
    }

    /// Asks and waits for the answer, whose type the request says.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: Request) -> BenchResult<T> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, reply),
            None => return Err(self.failed("it ended")),
        };
        let mut line =
            serde_json::to_vec(&Ask { id, request }).map_err(|error| self.failed(error))?;
        line.push(b'\n');
        {
            let mut input = self.input.lock().await;
            input.write_all(&line).await.map_err(|error| self.failed(error))?;
            input.flush().await.map_err(|error| self.failed(error))?;
        }
        let answer = timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| self.failed("it does not answer"))?
            .map_err(|_| self.failed("it ended"))?
            .map_err(|message| self.failed(message))?;
        serde_json::from_value(answer).map_err(|error| self.failed(error))
    }

    /// Closes the node, and waits until its process has ended.
    pub(crate) async fn close(mut self) -> BenchResult<()> {
        let closed = timeout(CLOSE_TIMEOUT, self.ask::<()>(Request::Close)).await;
        let ended = timeout(CLOSE_TIMEOUT, self.child.wait()).await;
        if ended.is_err() {
            let _ = self.child.start_kill();
            let _ = self.child.wait().await;
        }
        match (closed, ended) {
            (Ok(closed), Ok(_)) => closed,
            _ => Err(self.failed("it does not end")),
        }
    }

    fn failed(&self, message: impl std::fmt::Display) -> BenchError {
        BenchError::Node { node: self.name.clone(), message: message.to_string() }
    }
}

async fn read_answers(output: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(answer) = serde_json::from_str::<Answer>(&line) else { break };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A reply that nobody waits for belongs to a question that was given up.
        if let Some(reply) = waiting.as_mut().and_then(|waiting| waiting.remove(&answer.id)) {
            let _ = reply.send(answer.result);
        }
    }
    // Dropping the replies tells whoever waits.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}
