//! Migrations: formats, ledgers, lock, plan and apply, for PostgreSQL, MySQL/MariaDB and SQLite
#![allow(dead_code)]
mod sql;
