//! The one call to the agent, and what its silence means.

use crate::call::{Call, Message};
use margay_proto::cni::{AddResult, Code, Error};
use margay_proto::names::{AGENT_APP, NAMESPACE};
use margay_proto::rpc::cni::{AddReply, Reply, cni_client::CniClient};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// Asks the agent and waits until `deadline`; only ADD has a result.
///
/// # Errors
/// The agent's refusal as it is; [`Code::TRY_AGAIN_LATER`], or [`Code::NOT_AVAILABLE`] for STATUS, when the agent is away or silent.
pub(crate) async fn ask(call: Call, deadline: Instant) -> Result<Option<AddResult>, Error> {
    let silent = if matches!(call.message, Message::Status(_)) {
        Code::NOT_AVAILABLE
    } else {
        Code::TRY_AGAIN_LATER
    };
    let channel = connect(&call.socket, silent, deadline).await?;
    let answer = tokio::time::timeout_at(deadline.into(), send(call.message, channel)).await;
    let no_answer = || {
        Error::new(silent, "the Margay agent on this node does not answer")
            .with_details(where_to_look())
    };
    match answer.map_err(|_| no_answer())? {
        Ok(Answer::Result(reply)) => AddResult::try_from(reply).map(Some),
        Ok(Answer::Done(Reply { error: None })) => Ok(None),
        Ok(Answer::Done(Reply { error: Some(error) })) => Err(error.into()),
        Err(status) => Err(refusal(&status, silent)),
    }
}

enum Answer {
    Result(AddReply),
    Done(Reply),
}

async fn send(message: Message, channel: Channel) -> Result<Answer, Status> {
    let mut client = CniClient::new(channel);
    let done = match message {
        Message::Add(request) => {
            return client
                .add(request)
                .await
                .map(|reply| Answer::Result(reply.into_inner()));
        }
        Message::Del(request) => client.del(request).await,
        Message::Check(request) => client.check(request).await,
        Message::Status(request) => client.status(request).await,
        Message::Gc(request) => client.gc(request).await,
    };
    done.map(Response::into_inner).map(Answer::Done)
}

/// Connects; while the socket is absent or refuses, which a restart of the agent looks like, again and again until `deadline`.
async fn connect(socket: &str, silent: Code, deadline: Instant) -> Result<Channel, Error> {
    let failed = |code, why: String| {
        Error::new(
            code,
            format!("the Margay agent on this node is not running ({socket}: {why})"),
        )
        .with_details(where_to_look())
    };
    let unusable = |e: tonic::transport::Error| {
        Error::new(
            Code::INVALID_CONFIG,
            format!("socket {socket:?} cannot be used: {e}"),
        )
    };
    let endpoint = Endpoint::from_shared(format!("unix://{socket}")).map_err(unusable)?;
    loop {
        let error = match tokio::time::timeout_at(deadline.into(), endpoint.connect()).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => error,
            Err(_) => return Err(failed(silent, "no answer".to_owned())),
        };
        let cause = io_cause(&error);
        let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
        if !cause.is_none_or(|cause| passes(cause.kind())) {
            let message = format!("the Margay agent's socket {socket} cannot be opened: {why}");
            return Err(
                Error::new(Code::IO_FAILURE, message).with_details("the plugin must run as root")
            );
        }
        if Instant::now() + RETRY >= deadline {
            return Err(failed(silent, why));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The operating system's error inside tonic's, whose own text is only "transport error".
fn io_cause(error: &tonic::transport::Error) -> Option<&std::io::Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .find_map(|error| error.downcast_ref())
}

/// Whether an agent that starts or restarts can cause it. `WouldBlock` is a full backlog.
const fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::WouldBlock
            | ErrorKind::Interrupted
    )
}

/// Refusals that are meant come inside a reply; a status is the transport's, or a bug's.
fn refusal(status: &Status, silent: Code) -> Error {
    use tonic::Code as Grpc;
    let passing = [
        Grpc::Unavailable,
        Grpc::Cancelled,
        Grpc::DeadlineExceeded,
        Grpc::ResourceExhausted,
        Grpc::Aborted,
    ];
    if passing.contains(&status.code()) {
        let message = format!(
            "the Margay agent on this node broke off the call: {}",
            status.message()
        );
        return Error::new(silent, message).with_details(where_to_look());
    }
    let code = if silent == Code::NOT_AVAILABLE {
        silent
    } else {
        Code::INTERNAL
    };
    Error::new(
        code,
        format!(
            "the Margay agent on this node cannot serve the call: {}",
            status.message()
        ),
    )
    .with_details(format!(
        "gRPC status {:?}; {}",
        status.code(),
        where_to_look()
    ))
}

fn where_to_look() -> String {
    format!(
        "see the pod on this node of `kubectl -n {NAMESPACE} get pods -o wide -l app.kubernetes.io/name={AGENT_APP}` and its log"
    )
}

/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
