//! The server of the page.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::{DashboardError, Shared, metrics};

/// The page: HTML, SVG and a script, without anything from elsewhere.
const PAGE: &str = include_str!("page.html");
/// Least time between two events of a stream.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// Policy of the page: it loads nothing of another origin.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Starts to serve. Returns the address.
pub(super) fn serve(address: &str, shared: Arc<Shared>) -> Result<SocketAddr, DashboardError> {
    let bind = |source| DashboardError::Bind {
        address: address.to_owned(),
        source,
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(bind)?.collect();
    if !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(DashboardError::NotLoopback(address.to_owned()));
    }
    let listener = std::net::TcpListener::bind(&*addresses).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bind)?;
    let app = Router::new()
        .route("/", get(page))
        .route("/state", get(state))
        .route("/events", get(events))
        .route("/metrics", get(counts))
        .with_state(shared)
        .layer(axum::middleware::from_fn(local_only));
    let serves = move || {
        runtime.block_on(async move {
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener)
                && let Err(error) = axum::serve(listener, app).await
            {
                tracing::warn!(%error, "the dashboard has ended");
            }
        });
    };
    std::thread::Builder::new()
        .name("dashboard".to_owned())
        .spawn(serves)
        .map_err(bind)?;
    Ok(bound)
}

/// Refuses requests for other hosts: a page of another site could make its name an address of this machine, and read
/// along.
async fn local_only(
    headers: HeaderMap,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    match name {
        "localhost" | "[::1]" => next.run(request).await,
        _ if name
            .parse()
            .is_ok_and(|address: Ipv4Addr| address.is_loopback()) =>
        {
            next.run(request).await
        }
        _ => (StatusCode::FORBIDDEN, "ask for 127.0.0.1 or localhost\n").into_response(),
    }
}

async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response()
}

async fn state(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], json(&shared)).into_response()
}

async fn counts(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::text(&shared.view());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let mut changed = shared.changed.subscribe();
    changed.mark_changed();
    let stream =
        futures_util::stream::unfold((shared, changed), |(shared, mut changed)| async move {
            // Steps alone wake nobody: after a while the page is told anyway.
            let _ = tokio::time::timeout(2 * PAUSE, changed.changed()).await;
            let event = Event::default().data(json(&shared));
            tokio::time::sleep(PAUSE).await;
            Some((Ok::<_, Infallible>(event), (shared, changed)))
        });
    Sse::new(stream)
        .keep_alive(KeepAlive::default())
        .into_response()
}

fn json(shared: &Shared) -> String {
    // Plain fields: nothing of it can fail.
    serde_json::to_string(&*shared.view()).unwrap_or_default()
}
