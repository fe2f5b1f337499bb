//! Connections: how many there may be, how long a request's head may take, and how they end in order.
//!
//! A client that sends its head a byte at a time costs a connection for a bounded time, never a place among the requests.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{HttpLimits, layers};

/// The pause after the system had no room for another connection.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stopped` is cancelled and every request under way has its answer; idle connections are closed then.
///
/// # Errors
/// When nobody can connect any more.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &HttpLimits,
    stopped: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Mostly too many open files, which passes.
                tracing::error!(%error, "no connection can be accepted now");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            layers::count_overload("connections");
            continue;
        };
        let connection = http.serve_connection(io_of(stream), service_of(router.clone())).with_upgrades();
        let stopped = stopped.clone();
        connections.spawn(async move {
            metrics::gauge!("daybook_http_connections").increment(1);
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                // A client that goes away or is too slow; nothing that this side could mend.
                tracing::debug!(%error, "a connection ended early");
            }
            metrics::gauge!("daybook_http_connections").decrement(1);
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

fn io_of(stream: TcpStream) -> TokioIo<TcpStream> {
    // Small answers go at once; without it they only come later.
    let _ = stream.set_nodelay(true);
    TokioIo::new(stream)
}

fn service_of(
    router: Router,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send,
> + Send {
    service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)))
}

/// Whether the error is that of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
