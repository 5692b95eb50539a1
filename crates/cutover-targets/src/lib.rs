//! Clients of the places replicas run, behind the conductor's ports

#[cfg(feature = "host")]
pub mod host;
