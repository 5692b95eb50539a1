//! A small shop: the service that Cutover's tests release for real.
//!
//! It does what a service should for a release without failed requests: it listens on `PORT`, says apart whether it
//! lives and whether it may get traffic, and on SIGTERM finishes what it began. What its commit makes it do, good or
//! bad, stands in `behaviour.toml` beside it ([`behaviour`]).
//!
//! `shop` serves; `shop smoke` asks the service at `CUTOVER_URL` for its products and fails unless it gets them.

mod behaviour;
mod flow;
mod health;
mod log;
mod smoke;
mod store;
mod web;

use std::{env, error::Error, net::Ipv4Addr, path::Path, process::ExitCode, sync::Arc, time::Instant};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{behaviour::Behaviour, health::SchemaHead, log::say, store::Store, web::Shop};

fn main() -> ExitCode {
    let outcome = match env::args().nth(1).as_deref() {
        None => serve(),
        Some("smoke") => smoke::products(),
        Some(other) => Err(format!("unknown command `{other}`: there are none and `smoke`").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("shop: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve() -> Result<(), Box<dyn Error>> {
    let behaviour = Behaviour::read(Path::new("behaviour.toml"))?;
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).ok_or("PORT is not a port")?;
    let database = env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    if behaviour.print_database_url {
        say(format_args!("connecting to {database}"));
    }
    if behaviour.exit_at_once {
        return Err("this release ends at once".into());
    }

    let release = env::var("CUTOVER_RELEASE").unwrap_or_else(|_| "unreleased".into());
    let store = Store::open(&database, &release, behaviour.order_notes)?;
    let head = SchemaHead::of(Path::new("migrations"))?;
    let shop = Arc::new(Shop::new(store, behaviour, head, release, Instant::now()));
    let told = on_sigterm(shop.clone(), behaviour.ignore_sigterm)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    say(format_args!(
        "release {} listens on {}, pid {}",
        shop.release,
        listener.local_addr()?,
        std::process::id()
    ));

    axum::serve(listener, web::router(shop.clone())).with_graceful_shutdown(told).await?;
    shop.sockets.closed().await;
    shop.store.close().await;
    say("stopped");
    Ok(())
}

/// Ends when the process should stop, and tells open WebSockets. The handler is in place when this returns, so that no
/// signal is missed.
fn on_sigterm(
    shop: Arc<Shop>,
    ignore: bool,
) -> Result<impl Future<Output = ()> + Send + 'static, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        loop {
            terminate.recv().await;
            if !ignore {
                break;
            }
            say("SIGTERM ignored");
        }
        say("stopping");
        shop.sockets.send_replace(true);
    })
}
