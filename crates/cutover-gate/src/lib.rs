//! The reverse proxy that routes requests to ready replicas and measures each release
