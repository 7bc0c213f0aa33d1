//! How the service lives: configure, listen, serve, drain.

mod notify;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    Config, Error, api,
    app::App,
    edge::{self, Allowed, Origins},
    log,
};

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// How long a client may take to send its request's headers.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of request line and headers.
const HEADER_BYTES: usize = 64 << 10;
/// Headers of a request.
const HEADERS: usize = 100;
/// How long requests may go on after a signal to stop.
const DRAIN_TIME: Duration = Duration::from_secs(20);
/// How often the store is tidied.
const TIDY_TIME: Duration = Duration::from_secs(3600);
/// How long accepting pauses when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Builds the router that [`serve`] puts on a socket, for use inside this process.
pub fn local(config: Config) -> Result<Router, Error> {
    let allowed = allowed(&config, true)?;
    Ok(edge::guard(api::router(App::start(config)?), edge::ROUTES, allowed))
}

/// Serves until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<(), Error> {
    log::start(config.log_level);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let listener = listen(&config).await?;
    let address = listener.local_addr().map_err(|e| Error::Start(e.to_string()))?;
    let allowed = allowed(&config, address.ip().is_loopback())?;
    let app = App::start(config)?;
    let models = app.blocking(|app| app.tidy()).await?;
    let router = edge::guard(api::router(Arc::clone(&app)), edge::ROUTES, allowed);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, version, models, store = %app.config.models.display(), "listening");
    tokio::spawn(tidy(Arc::downgrade(&app)));
    notify::ready(app.config.notify_socket.as_deref());
    let stopped = stop_signal()?;
    accept(listener, router, stopped).await;
    Ok(())
}

fn allowed(config: &Config, listens_on_loopback: bool) -> Result<Allowed, Error> {
    let origins = Origins::new(&config.origins).map_err(|e| Error::Start(e.to_string()))?;
    Ok(Allowed { origins, listens_on_loopback, hostname: edge::name_of_this_machine() })
}

/// Opens the port; when it is taken, says by what and what to set.
async fn listen(config: &Config) -> Result<TcpListener, Error> {
    let address = config.host.listen_address();
    TcpListener::bind(&address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                ": an Ollama or another vecuna is probably running there; stop it, or set VECUNA_HOST to another port"
            }
            _ => "; set VECUNA_HOST to an address of this machine",
        };
        Error::Start(format!("listen tcp {address}: {}{hint}", reason(&error)))
    })
}

/// Returns the words of a system error without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Removes now and then what uploads and pulls left behind.
async fn tidy(app: Weak<App>) {
    loop {
        tokio::time::sleep(TIDY_TIME).await;
        let Some(app) = app.upgrade() else { return };
        if let Err(error) = app.blocking(App::tidy).await {
            tracing::warn!(%error, "the store could not be tidied");
        }
    }
}

/// Returns what ends when somebody asks this process to stop.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let listen = |kind| signal(kind).map_err(|e| Error::Start(e.to_string()));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Takes connections until the signal, then lets those that are open finish their requests.
async fn accept(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            (stream, place) = next(&listener, &places) => spawn(stream, place, router.clone(), &open),
        }
    }
    drop(listener);
    tracing::info!("stopping");
    if tokio::time::timeout(DRAIN_TIME, open.shutdown()).await.is_err() {
        tracing::warn!("requests were still running at the end");
    }
}

/// Waits for a place and a connection.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn spawn(
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
    router: Router,
    open: &GracefulShutdown,
) {
    // Answers are written whole: waiting to fill a packet only adds delay.
    drop(stream.set_nodelay(true));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
        drop(place);
    });
}
