//! The shop's SQL. Columns are named one by one: a `SELECT *` that the server has prepared breaks when a migration adds a
//! column.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// One thing the shop sells.
#[derive(Debug, Serialize)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) price_cents: i64,
}

/// What a customer asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) product_id: i64,
    /// 1 to 100.
    pub(crate) quantity: i64,
    /// Kept only by releases that know the column.
    pub(crate) note: Option<String>,
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("a quantity is from 1 to 100")]
    Quantity,
    #[error("there is no such product")]
    NoProduct,
    #[error("not enough in stock")]
    OutOfStock,
    #[error("the shop can't look into its books right now")]
    Database(#[from] sqlx::Error),
}

/// The shop's database.
pub(crate) struct Store {
    pool: PgPool,
    /// Whether the code knows `orders.note`.
    notes: bool,
}

impl Store {
    /// Connects with the first query: until the database is there, readiness says no.
    pub(crate) fn open(url: &str, release: &str, notes: bool) -> Result<Self, sqlx::Error> {
        // The release in the session's name tells an administrator which one holds a lock.
        let options = PgConnectOptions::from_str(url)?.application_name(&format!("shop {release}"));
        let pool = PgPoolOptions::new()
            .max_connections(5)
            .acquire_timeout(Duration::from_secs(2))
            .connect_lazy_with(options);
        Ok(Self { pool, notes })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn has_migration(&self, version: i64) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version = $1 AND success)")
            .bind(version)
            .fetch_one(&self.pool)
            .await
    }

    pub(crate) async fn products(&self) -> Result<Vec<Product>, sqlx::Error> {
        let rows: Vec<(i64, String, i64)> =
            sqlx::query_as("SELECT id, name, price_cents FROM products ORDER BY id LIMIT 100")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(product).collect())
    }

    pub(crate) async fn product(&self, id: i64) -> Result<Option<Product>, sqlx::Error> {
        let row: Option<(i64, String, i64)> =
            sqlx::query_as("SELECT id, name, price_cents FROM products WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(product))
    }

    /// Takes the stock and places the order, both or neither; returns the order's number.
    pub(crate) async fn place(&self, order: &NewOrder) -> Result<i64, OrderError> {
        if !(1..=100).contains(&order.quantity) {
            return Err(OrderError::Quantity);
        }
        let mut transaction = self.pool.begin().await?;
        let stock: Option<i64> = sqlx::query_scalar("SELECT stock FROM products WHERE id = $1 FOR UPDATE")
            .bind(order.product_id)
            .fetch_optional(&mut *transaction)
            .await?;
        if stock.ok_or(OrderError::NoProduct)? < order.quantity {
            return Err(OrderError::OutOfStock);
        }
        sqlx::query("UPDATE products SET stock = stock - $2 WHERE id = $1")
            .bind(order.product_id)
            .bind(order.quantity)
            .execute(&mut *transaction)
            .await?;
        let insert = if self.notes {
            sqlx::query_scalar(
                "INSERT INTO orders (product_id, quantity, note) VALUES ($1, $2, $3) RETURNING id",
            )
            .bind(order.product_id)
            .bind(order.quantity)
            .bind(order.note.as_deref())
        } else {
            sqlx::query_scalar("INSERT INTO orders (product_id, quantity) VALUES ($1, $2) RETURNING id")
                .bind(order.product_id)
                .bind(order.quantity)
        };
        let number: i64 = insert.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(number)
    }
}

fn product((id, name, price_cents): (i64, String, i64)) -> Product {
    Product { id, name, price_cents }
}
