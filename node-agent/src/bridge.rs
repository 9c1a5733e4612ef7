//! `margay-agent bridge`: joins standard input and output to the agent's unix socket.
//!
//! `margayctl` runs it by `pods/exec` in the agent's own container and speaks gRPC through it, so that the agent needs no
//! port and Kubernetes' RBAC decides who may ask (ARCHITECTURE.md section 9d).
//!
//! ```text
//! margayctl ══ API server ══ kubelet ══ runtime ══ stdin ──► socket ──► agent
//!                                                  stdout ◄── socket ◄──
//! ```
//! The end of input is passed on as a half-close, and what the agent still answers is delivered. The end of the agent's
//! answers ends the bridge even when input stays open: nobody is left to read it.

use std::path::Path;

use anyhow::Context as _;
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Runs the bridge between the process' standard streams and the socket at `path`, to the end of the answers.
///
/// # Errors
/// When the agent cannot be reached, or a stream breaks.
pub fn main(path: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("runtime")?;
    let result = runtime.block_on(run(path, io::stdin(), io::stdout()));
    // Tokio reads standard input in a thread that nothing can interrupt: do not wait for it.
    runtime.shutdown_background();
    result
}

async fn run(
    path: &Path,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> anyhow::Result<()> {
    let stream = UnixStream::connect(path)
        .await
        .with_context(|| format!("agent socket {}", path.display()))?;
    join(stream, input, output)
        .await
        .context("bridge to the agent")
}

async fn join(
    mut stream: UnixStream,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut answers, mut questions) = stream.split();
    let ask = async {
        let asked = io::copy(&mut input, &mut questions).await;
        // A socket that the agent closed already needs no half-close.
        let closed = questions.shutdown().await;
        asked.and(closed)
    };
    let answer = async {
        let answered = io::copy(&mut answers, &mut output).await;
        answered.and(output.flush().await)
    };
    tokio::pin!(ask, answer);
    tokio::select! {
        asked = &mut ask => {
            answer.await?;
            match asked {
                // To end before all was asked is the agent's right; what it answered counts.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                asked => asked,
            }
        }
        answered = &mut answer => answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn the_end_of_input_is_a_half_close_and_the_answer_still_comes() {
        let (ours, mut agent) = UnixStream::pair().unwrap();
        let mut output = Vec::new();
        let agent = async move {
            let mut asked = Vec::new();
            agent.read_to_end(&mut asked).await.unwrap();
            agent.write_all(b"answer to ").await.unwrap();
            agent.write_all(&asked).await.unwrap();
        };
        let (joined, ()) = tokio::join!(join(ours, &b"question"[..], &mut output), agent);
        joined.unwrap();
        assert_eq!(output, b"answer to question");
    }

    #[tokio::test]
    async fn the_end_of_answers_ends_it_though_input_stays_open() {
        let (ours, mut agent) = UnixStream::pair().unwrap();
        let (input, _open) = io::duplex(64);
        let mut output = Vec::new();
        let agent = async move {
            agent.write_all(b"good bye").await.unwrap();
        };
        let (joined, ()) = tokio::join!(join(ours, input, &mut output), agent);
        joined.unwrap();
        assert_eq!(output, b"good bye");
    }

    #[tokio::test]
    async fn an_absent_agent_is_named_by_its_socket() {
        let error = run(
            Path::new("/nonexistent/agent.sock"),
            io::empty(),
            io::sink(),
        )
        .await
        .unwrap_err();
        assert!(
            format!("{error:#}").contains("/nonexistent/agent.sock: No such file"),
            "{error:#}"
        );
    }
}
