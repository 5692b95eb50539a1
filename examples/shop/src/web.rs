//! The shop over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    behaviour::{Behaviour, is_among},
    flow,
    health::{SchemaHead, is_ready},
    log::say,
    store::{NewOrder, OrderError, Product, Store},
};

/// Everything that handlers need.
pub(crate) struct Shop {
    pub(crate) store: Store,
    pub(crate) release: String,
    behaviour: Behaviour,
    head: SchemaHead,
    started: Instant,
    /// Requests to products and orders so far.
    requests: AtomicU64,
    /// Open WebSockets listen to it; true: say goodbye.
    pub(crate) sockets: watch::Sender<bool>,
}

impl Shop {
    pub(crate) fn new(
        store: Store,
        behaviour: Behaviour,
        head: SchemaHead,
        release: String,
        started: Instant,
    ) -> Self {
        let (sockets, _) = watch::channel(false);
        Self { store, release, behaviour, head, started, requests: AtomicU64::new(0), sockets }
    }
}

pub(crate) fn router(shop: Arc<Shop>) -> Router {
    let business = Router::new()
        .route("/products", get(products))
        .route("/products/{id}", get(product))
        .route("/orders", post(order))
        .layer(middleware::from_fn_with_state(shop.clone(), behave));
    Router::new()
        .route("/health/live", get(async || "alive\n"))
        .route("/health/ready", get(ready))
        .route("/info", get(info))
        .route("/slow", get(flow::slow))
        .route("/upload", post(flow::upload))
        .route("/ws", any(flow::echo))
        .merge(business)
        .with_state(shop)
}

/// Lets a share of requests fail or wait, as the commit's behaviour says.
async fn behave(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let number = shop.requests.fetch_add(1, Ordering::Relaxed);
    if is_among(number, shop.behaviour.slow_share) {
        tokio::time::sleep(Duration::from_millis(shop.behaviour.slow_ms)).await;
    }
    if is_among(number, shop.behaviour.error_share) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "this release fails on purpose\n").into_response();
    }
    next.run(request).await
}

async fn ready(State(shop): State<Arc<Shop>>) -> (StatusCode, &'static str) {
    let warm = shop.started.elapsed() >= Duration::from_millis(shop.behaviour.ready_after_ms);
    if warm && is_ready(&shop.store, shop.head).await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn info(State(shop): State<Arc<Shop>>) -> Json<Value> {
    Json(json!({ "release": shop.release, "pid": std::process::id() }))
}

async fn products(State(shop): State<Arc<Shop>>) -> Result<Json<Vec<Product>>, Refusal> {
    Ok(Json(shop.store.products().await?))
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Json<Product>, Refusal> {
    shop.store.product(id).await?.map(Json).ok_or(Refusal(OrderError::NoProduct))
}

async fn order(
    State(shop): State<Arc<Shop>>,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let number = shop.store.place(&order).await?;
    Ok((StatusCode::CREATED, Json(json!({ "order": number }))))
}

/// An error as the customer sees it; what the database said goes to the log only.
struct Refusal(OrderError);

impl<E: Into<OrderError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            OrderError::Quantity => StatusCode::UNPROCESSABLE_ENTITY,
            OrderError::NoProduct => StatusCode::NOT_FOUND,
            OrderError::OutOfStock => StatusCode::CONFLICT,
            OrderError::Database(error) => {
                say(format_args!("database: {error}"));
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, format!("{}\n", self.0)).into_response()
    }
}
