//! The page of a daemon's counters, for Prometheus: `GET /metrics` over HTTP/1.1.
//!
//! A few connections at a time, each for one request and a few seconds, so that whoever reaches the
//! address cannot burden the daemon. The page says how much there is of what, never whose it is.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use offset_proto::NetworkAddress;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::manners::daemon;

/// Listens for readers of the counters, where an address is given.
///
/// # Errors
/// As [`daemon::listen`].
pub async fn listen(address: Option<&NetworkAddress>) -> anyhow::Result<Option<TcpListener>> {
    match address {
        Some(address) => daemon::listen(address).await.map(Some),
        None => Ok(None),
    }
}

/// Serves a page while this value lives.
#[derive(Debug)]
pub struct Serving(Option<AbortHandle>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Serves the page where somebody listens, and says so.
///
/// # Errors
/// When stdout cannot be written.
pub fn serve<P, F>(listener: Option<TcpListener>, page: P) -> anyhow::Result<Serving>
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = String> + Send + 'static,
{
    let Some(listener) = listener else { return Ok(Serving(None)) };
    daemon::announce(listener.local_addr()?, "metrics")?;
    Ok(Serving(Some(tokio::spawn(accept(listener, page)).abort_handle())))
}

async fn accept<P, F>(listener: TcpListener, page: P)
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = String> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Others wait in the system's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    if timeout(LONGEST, answer(stream, page)).await.is_err() {
                        log::debug!("{from} took too long to read the counters");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::debug!("cannot accept a connection for the counters: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request.
async fn answer<P, F>(stream: TcpStream, page: P)
where
    P: Fn() -> F,
    F: Future<Output = String>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let page = &page;
        async move { Ok::<_, Infallible>(respond(&request, page).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        log::debug!("reading the counters: {error}");
    }
}

async fn respond<P, F>(request: &Request<Incoming>, page: &P) -> Response<Full<Bytes>>
where
    P: Fn() -> F,
    F: Future<Output = String>,
{
    let (status, text) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".to_owned())
    } else if request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, "the counters are at /metrics\n".to_owned())
    } else {
        (StatusCode::OK, page().await)
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Readers at a time.
const CONNECTIONS: usize = 8;
/// For a request and its answer.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest head of a request; the least that the library allows.
const MOST_HEAD_BYTES: usize = 8 * 1024;
const PAUSE: Duration = Duration::from_millis(500);
/// What Prometheus asks for.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
